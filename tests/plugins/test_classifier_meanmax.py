"""Classifier meanmax against scikit-learn on tables that are pooled by hand."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kras_classifier_meanmax import MeanMaxOptions, pooling
from kras_classifier_meanmax.classifier import PENALTIES, MeanMaxClassifier
from kras_plugins import Bag, Cohort, ConfigError, Sample, StoreError, TileSpec

DIM = 5


def bag(features: np.ndarray, slide_id: str = "s") -> Bag:
    return Bag(
        slide_id=slide_id, features=np.asarray(features, np.float32),
        xy=np.arange(2 * len(features), dtype=np.int32).reshape(-1, 2), size=(448.0, 448.0),
        tile_spec=TileSpec(px=224, mpp=0.5), encoder="e", transform_hash="t",
    )  # fmt: skip


def patients(n: int, seed: int) -> tuple[list[Sample], np.ndarray]:
    """Positive patients have one tile with a high first feature; every other patient has two slides."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int8)
    samples = []
    for i, label in enumerate(labels):
        x = rng.normal(size=(rng.integers(8, 20), DIM))
        x[3, 0] += 3 * label
        parts = (x[:5], x[5:]) if i % 2 else (x,)
        samples.append(Sample(patient_id=f"p{i}", bags=tuple(bag(p, f"s{j}") for j, p in enumerate(parts))))
    return samples, labels


def table(samples: list[Sample]) -> np.ndarray:
    whole = [np.concatenate([b.features for b in s.bags]).astype(np.float64) for s in samples]
    return np.stack([np.r_[x.mean(axis=0), x.max(axis=0)] for x in whole])


def fit(samples: list[Sample], labels: np.ndarray, seed: int = 0) -> MeanMaxClassifier:
    classifier, cut = MeanMaxClassifier(MeanMaxOptions(), seed), len(samples) * 3 // 4
    parts = [
        Cohort(samples=samples[p], labels=labels[p], groups=[s.patient_id for s in samples[p]])
        for p in (slice(cut), slice(cut, None))
    ]
    classifier.fit(*parts)
    return classifier


@pytest.fixture(scope="module")
def classifier() -> MeanMaxClassifier:
    return fit(*patients(60, 0))


def test_scores_are_scikit_learns_on_mean_and_maximum_of_all_slides_with_one_of_the_penalties(
    classifier: MeanMaxClassifier,
) -> None:
    train, labels = patients(60, 0)
    new, _ = patients(30, 1)
    scaler = StandardScaler().fit(table(train))
    wanted = [
        LogisticRegression(C=c, max_iter=10_000)
        .fit(scaler.transform(table(train)), labels)
        .decision_function(scaler.transform(table(new)))
        for c in PENALTIES
    ]
    apart = [np.abs(classifier.predict(new) - scores).max() for scores in wanted]
    assert min(apart) < 1e-5 and sorted(apart)[1] > 1e-3


def test_noise_gets_a_strong_penalty_and_a_signal_a_weak_one(classifier: MeanMaxClassifier) -> None:
    samples, labels = patients(60, 0)
    noise = fit(samples, np.random.default_rng(5).permutation(labels))
    assert np.ptp(noise.predict(samples)) < 0.3 * np.ptp(classifier.predict(samples))


def test_a_tile_contributes_its_share_of_the_mean_and_the_maxima_that_it_holds(classifier: MeanMaxClassifier) -> None:
    """If a patient's tile 3 has the highest first feature, raising it moves the score by its weights alone."""
    (sample,), _ = patients(1, 7)
    x = np.concatenate([b.features for b in sample.bags])
    why, line = classifier.explain(sample), classifier._line
    assert line is not None
    assert why.values.sum() + why.base == pytest.approx(classifier.predict([sample])[0], abs=1e-5)
    higher = x.copy()
    higher[3, 0] += 1
    after = classifier.explain(Sample(patient_id="p", bags=(bag(higher),)))
    step = (line.weights / line.scale)[[0, DIM]]
    assert after.values[3] - why.values[3] == pytest.approx(step[0] / len(x) + step[1], abs=1e-5)
    np.testing.assert_allclose(np.delete(after.values, 3), np.delete(why.values, 3), atol=1e-9)
    assert why.slide_ids == ("s0",) * len(x) and why.xy is not None and why.xy.shape == (len(x), 2)


def test_of_a_single_positive_patient_it_still_learns_with_the_strongest_penalty() -> None:
    samples, labels = patients(12, 0)
    labels = np.r_[1, np.zeros(11, np.int8)].astype(np.int8)
    assert np.ptp(fit(samples, labels).predict(samples)) < 0.1


def test_a_bag_is_read_once_for_all_fits_and_forgotten_with_the_bag(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    slabs = pooling.checked_slabs
    monkeypatch.setattr(pooling, "checked_slabs", lambda b: read.append(b.slide_id) or slabs(b))
    samples, labels = patients(12, 3)
    known = len(pooling._known)
    for _ in range(2):
        fit(samples, labels).predict(samples)
    assert len(read) == sum(len(s.bags) for s in samples) == len(pooling._known) - known
    del samples
    gc.collect()
    assert len(pooling._known) == known


def test_features_that_are_not_finite_are_refused_by_slide(classifier: MeanMaxClassifier) -> None:
    x = np.zeros((3, DIM))
    x[1, 1] = np.inf
    with pytest.raises(ConfigError, match="'bad'"):
        classifier.predict([Sample(patient_id="p", bags=(bag(x, "bad"),))])


@pytest.mark.parametrize("name", ["center", "weights"])
def test_a_file_that_makes_no_score_is_refused(classifier: MeanMaxClassifier, tmp_path, name: str) -> None:  # type: ignore[no-untyped-def]
    classifier.save(tmp_path)
    file = tmp_path / "line.safetensors"
    whole = load_file(file)
    for broken in (whole | {name: whole[name][1:]}, whole | {name: whole[name] * np.nan}):
        save_file(broken, file)
        with pytest.raises(StoreError, match="not a model of classifier meanmax"):
            MeanMaxClassifier.load(tmp_path)
