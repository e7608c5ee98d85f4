from __future__ import annotations

import re

import lightgbm
import numpy as np
import pytest

from kras_classifier_lgbm import LgbmOptions
from kras_classifier_lgbm.classifier import LgbmClassifier
from kras_plugins import Cohort, Sample, SemanticProfile, StoreError

NAMES = ("area [mm²]", 'ratio "T:L"', "{x}", "d,e", "f")
"""Names that LightGBM would refuse or change."""


def patients(n, seed, shift=2.5):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int8)
    values = rng.normal(size=(n, 5))
    values[labels == 1, 1] += shift
    values[rng.random((n, 5)) < 0.1] = np.nan
    samples = [
        Sample(patient_id=str(i), profile=SemanticProfile(id=str(i), names=NAMES, values=row, valid={}, source="s"))
        for i, row in enumerate(values)
    ]
    return samples, labels


def fit(samples, labels, seed=0, **options):
    classifier = LgbmClassifier(LgbmOptions(**options), seed)
    cut = len(samples) * 3 // 4
    parts = [
        Cohort(samples=samples[p], labels=labels[p], groups=[s.patient_id for s in samples[p]])
        for p in (slice(cut), slice(cut, None))
    ]
    classifier.fit(*parts)
    return classifier


@pytest.fixture(scope="module")
def classifier():
    return fit(*patients(60, 0))


def test_lightgbm_is_silent_and_takes_any_feature_name(capfd):
    samples, labels = patients(12, 0)
    why = fit(samples, labels).explain(samples[0])
    assert set(why.names) <= set(NAMES)
    assert capfd.readouterr() == ("", "")


def test_contributions_are_those_of_the_saved_model_and_name_the_informative_feature(classifier, tmp_path):
    samples, labels = patients(60, 5)
    classifier.save(tmp_path)
    booster = lightgbm.Booster(model_file=tmp_path / "model.txt")
    table = classifier._preprocessor.table(samples)
    np.testing.assert_allclose(classifier.predict(samples), booster.predict(table, raw_score=True), rtol=1e-6)
    values = np.array([classifier.explain(s).values for s in samples])
    np.testing.assert_allclose(values, booster.predict(table, pred_contrib=True)[:, :-1], rtol=1e-6)
    assert classifier.explain(samples[0]).names[np.argmax(values[labels == 1].mean(axis=0))] == NAMES[1]


def test_a_missing_value_counts_as_the_training_median(classifier):
    """LightGBM would otherwise learn from the absence itself."""
    preprocessor = classifier._preprocessor
    filled = dict(zip(preprocessor.columns, preprocessor.median, strict=True))
    values = np.array([0.3, -0.2, 0.9, 0.1, 0.5])
    scores = []
    for value in (np.nan, filled["f"]):
        profile = SemanticProfile(id="m", names=NAMES, values=np.r_[values[:4], value], valid={}, source="s")
        scores += classifier.predict([Sample(patient_id="m", profile=profile)]).tolist()
    assert scores[0] == scores[1]


def test_boosting_stops_when_validation_no_longer_improves():
    samples, labels = patients(60, 0, shift=0)
    trees = fit(samples, labels)._booster.num_trees()
    assert trees < 100
    assert fit(*patients(60, 0), patience=300)._booster.num_trees() > trees


def test_the_number_of_threads_does_not_matter(classifier):
    threaded = fit(*patients(60, 0), jobs=2)
    fresh = patients(50, 1)[0]
    np.testing.assert_array_equal(threaded.predict(fresh), classifier.predict(fresh))


def test_positives_weigh_the_root_of_their_rarity():
    """With 1 positive in 5 the weight is 2: without any usable split the log-odds are those of 2 to 4."""
    samples = patients(80, 0)[0]
    labels = (np.arange(80) % 5 == 0).astype(np.int8)
    classifier = fit(samples, labels, lr=1e-9)
    np.testing.assert_allclose(classifier.predict(samples), np.log(2 / 4), atol=1e-4)


@pytest.mark.parametrize(
    ("pattern", "new", "said"),
    [
        (r"(?m)^left_child=\S+", "left_child=0", "not reached once"),
        (r"(?m)^left_child=\S+", "left_child=900", "not reached once"),
        (r"(?m)^split_feature=\S+", "split_feature=77", "column that is not there"),
        (r"(?m)^split_feature=\S+", "split_feature=-7", "column that is not there"),
        (r"(?m)^leaf_value=\S+", "leaf_value=nan", "numbers"),
        (r"(?m)^leaf_value=\S+", "leaf_value=1e999", "no finite leaf"),
        (r"(?m)^num_leaves=\d+", "num_leaves=1000000000", "numbers"),
        (r"(?m)^num_cat=0", "num_cat=3", "categories"),
        (r"(?m)^decision_type=\d+", "decision_type=1", "unknown way"),
        (r"(?m)^max_feature_idx=\d+", "max_feature_idx=2000000000", "max_feature_idx"),
        (r"(?m)^tree_sizes=\d+", "tree_sizes=9", "tree_sizes"),
        (r"(?m)^Tree=1$", "Tree=7", "another number"),
        (r"end of trees", "", "end is missing"),
        (r"^tree", "wood", "no tree"),
        (r"binary", "lambdarank", "not a binary classifier"),
        (r"(?m)^Tree=0$", "Tree=0\0", "not text"),
    ],
)
def test_a_text_that_lightgbm_would_trust_and_fall_over_is_refused(classifier, tmp_path, pattern, new, said):
    classifier.save(tmp_path)
    file = tmp_path / "model.txt"
    text = re.sub(pattern, new, file.read_text(), count=1)
    if said != "tree_sizes":  # an attacker corrects the sizes, too
        sizes = " ".join(
            str(len(part.partition("end of trees\n")[0])) for part in re.split(r"(?m)^(?=Tree=)", text)[1:]
        )
        text = re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", text)
    file.write_text(text)
    with pytest.raises(StoreError, match=said):
        LgbmClassifier.load(tmp_path)


@pytest.mark.parametrize("name", ["crash-58.txt", "crash-41.txt"])
def test_texts_that_end_the_process_are_refused_before_lightgbm_sees_them(classifier, tmp_path, shared_cases, name):
    classifier.save(tmp_path)
    (tmp_path / "model.txt").write_bytes((shared_cases / "bundles" / name).read_bytes())
    with pytest.raises(StoreError, match=r"model\.txt is not a model"):
        LgbmClassifier.load(tmp_path)
