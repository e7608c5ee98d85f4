"""What applies to all bundled classifiers; each is used through its record, as by the host."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from kras_plugins import Bag, Cohort, ConfigError, PluginError, Sample, SemanticProfile, TileSpec

SMALL = {
    "he": {"hidden": 32, "attention": 16, "seeds": 2, "epochs": 25},
    "mlp": {"seeds": 3},
    "rf": {"trees": 200},
    "lgbm": {},
    "meanmax": {},
}
NAMES = tuple(f"f{i}" for i in range(12))


def record(name):
    (found,) = import_module(f"kras_classifier_{name}").kras_classifiers()
    return found


def create(name, seed=0):
    plugin = record(name)
    return plugin.create(plugin.options(**SMALL[name]), seed)


def patients(n, seed, signal=True):
    """A third of the patients is positive: some of their tiles and two of their features are shifted."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int8)
    samples = []
    for i, positive in enumerate(labels):
        tiles = rng.normal(size=(rng.integers(15, 25), 16)).astype(np.float32)
        values = rng.normal(size=len(NAMES))
        if positive and signal:
            tiles[:6, :4] += 2.5
            values[[2, 7]] += (3.0, -2.5)
        values[rng.random(len(NAMES)) < 0.05] = np.nan
        tiles.flags.writeable = False  # a classifier that writes into its input fails
        values.flags.writeable = False
        bag = Bag(
            slide_id=f"s{seed}-{i}",
            features=tiles,
            xy=np.zeros((len(tiles), 2), np.int32),
            size=(448.0, 448.0),
            tile_spec=TileSpec(px=224, mpp=0.5),
            encoder="e",
            transform_hash="t",
        )
        profile = SemanticProfile(
            id=f"p{i}", names=NAMES, values=values, valid={"A": bool(rng.random() < 0.8)}, source="s"
        )
        samples.append(Sample(patient_id=f"p{seed}-{i}", bags=(bag,), profile=profile))
    return samples, labels


def cohort(samples, labels):
    return Cohort(samples=samples, labels=labels, groups=[s.patient_id for s in samples])


def fitted(name, seed=0, signal=True, n=60):
    samples, labels = patients(n, 1, signal)
    cut = n * 3 // 4
    classifier = create(name, seed)
    classifier.fit(cohort(samples[:cut], labels[:cut]), cohort(samples[cut:], labels[cut:]))
    return classifier


@pytest.fixture(scope="module", params=sorted(SMALL))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def classifier(name):
    return fitted(name)


def test_the_record_is_cheap_and_complete(name):
    plugin = record(name)
    assert plugin.name == name
    assert plugin.options().model_dump_json()  # every option has a default


def test_a_planted_signal_is_learned(classifier):
    samples, labels = patients(90, 2)
    assert roc_auc_score(labels, classifier.predict(samples)) >= 0.9


def test_without_a_signal_nothing_is_learned(name):
    samples, labels = patients(150, 2, signal=False)
    assert roc_auc_score(labels, fitted(name, signal=False).predict(samples)) == pytest.approx(0.5, abs=0.13)


def test_a_score_does_not_depend_on_who_else_is_asked(classifier):
    samples, _ = patients(20, 3)
    together = classifier.predict(samples)
    assert together.dtype == np.float32
    assert together.shape == (20,)
    np.testing.assert_array_equal(together, np.concatenate([classifier.predict([s]) for s in samples]))
    np.testing.assert_array_equal(together[::-1], classifier.predict(samples[::-1]))


def test_nobody_gets_no_score(classifier):
    scores = classifier.predict([])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32


def files(classifier, folder):
    folder.mkdir()
    classifier.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(name, classifier, tmp_path):
    first = files(classifier, tmp_path / "first")
    assert files(fitted(name), tmp_path / "again") == first
    if name == "meanmax":
        return  # chance deals its inner folds, which may agree on the penalty
    samples, _ = patients(20, 3)
    assert not np.array_equal(fitted(name, seed=1).predict(samples), classifier.predict(samples))


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def shared_state():
    """What all threads of a process share: of random numbers, and how many threads torch works with."""
    kind, keys, *rest = np.random.get_state()
    chance = random.getstate(), kind, keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()
    return chance, torch.get_num_threads(), torch.get_num_interop_threads()


def whole_life(name, seed, folder):
    """All bytes that come of a fit, a save, a load, predictions and explanations, and torch's threads here."""
    made = fitted(name, seed)
    saved = files(made, folder)
    samples, _ = patients(10, 3)
    given = []
    for classifier in (made, record(name).load(folder)):
        given += [classifier.predict(samples).tobytes(), *(classifier.explain(s).values.tobytes() for s in samples)]
    return saved, given, torch.get_num_threads()


def test_shared_state_is_neither_read_nor_changed_from_the_first_weight_to_the_last_explanation(name, tmp_path):
    found = []
    for seed in (1, 2):
        seed_everything(seed)
        before = shared_state()
        found.append(whole_life(name, 0, tmp_path / str(seed)))
        assert shared_state() == before
    assert found[0] == found[1]


def test_fits_in_two_threads_at_once_are_those_one_after_the_other(name, tmp_path):
    seed_everything(1)
    before = shared_state()
    alone = [whole_life(name, seed, tmp_path / f"alone-{seed}") for seed in (0, 1)]
    together = Barrier(2)

    def work(seed):
        together.wait(60)
        return whole_life(name, seed, tmp_path / f"beside-{seed}")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, (0, 1))) == alone
    assert shared_state() == before
    assert alone[0] != alone[1]


def test_a_saved_model_comes_back_the_same_and_without_pickle(name, classifier, tmp_path):
    written = files(classifier, tmp_path / "a")
    assert {file.rsplit(".", 1)[1] for file in written} <= {"json", "safetensors", "txt"}
    loaded = record(name).load(tmp_path / "a")
    samples, _ = patients(20, 3)
    np.testing.assert_array_equal(loaded.predict(samples), classifier.predict(samples))
    a, b = loaded.explain(samples[0]), classifier.explain(samples[0])
    np.testing.assert_array_equal(a.values, b.values)
    assert (a.base, a.names, a.slide_ids) == (b.base, b.names, b.slide_ids)
    assert files(loaded, tmp_path / "b") == written


def test_contributions_sum_to_score_minus_base_and_attention_to_one(name, classifier):
    samples, _ = patients(10, 3)
    for sample, score in zip(samples, classifier.predict(samples), strict=True):
        why = classifier.explain(sample)
        assert why.values.sum() == pytest.approx(score - why.base, rel=1e-4, abs=1e-6)
        if why.xy is None:
            assert len(why.values) == len(why.names)
        else:
            assert len(why.values) == len(why.slide_ids) == len(why.xy)
        if name == "he":
            assert why.attention.sum() == pytest.approx(1)
            assert len(why.attention) == len(why.values)


@pytest.mark.parametrize("only", [0, 1])
def test_a_training_part_of_one_class_is_refused(name, only):
    samples, labels = patients(12, 1)
    with pytest.raises(ConfigError, match="no (positive|negative) patient"):
        create(name).fit(cohort(samples, np.full(12, only, np.int8)), cohort(samples, labels))


def test_an_empty_validation_part_is_refused(name):
    samples, labels = patients(12, 1)
    with pytest.raises(ConfigError, match="validation part is empty"):
        create(name).fit(cohort(samples, labels), cohort([], labels[:0]))


def test_a_patient_without_input_is_named(name, classifier):
    with pytest.raises(ConfigError, match="'nobody'"):
        classifier.predict([Sample(patient_id="nobody")])


def test_a_classifier_that_is_not_fitted_says_so(name):
    with pytest.raises(PluginError, match="not fitted"):
        create(name).predict([])


def of_ours(n, seed):
    """Patients with our features, of which those of nuclei outside the preset `core` give the label away."""
    from kras_plugins.semantics.features.table import FEATURES

    rng = np.random.default_rng(seed)
    names = tuple(f.name for f in FEATURES)
    labels = (np.arange(n) % 2).astype(np.int8)
    values = rng.uniform(1, 2, (n, len(names)))
    values[:, [f.group == "M" and not f.core for f in FEATURES]] += labels[:, None]
    profiles = [
        SemanticProfile(id=f"p{i}", names=names, values=row, valid={}, source="s") for i, row in enumerate(values)
    ]
    return [Sample(patient_id=p.id, profile=p) for p in profiles], labels


@pytest.mark.parametrize(("name", "default"), [("mlp", "core"), ("rf", "all"), ("lgbm", "all")])
def test_the_preset_core_is_what_the_network_learns_from_unless_told_otherwise(name, default):
    plugin = record(name)
    assert plugin.options().features == default
    train, valid, new = (of_ours(60, seed) for seed in range(3))
    for features in ("core", "all"):
        classifier = plugin.create(plugin.options(**SMALL[name], features=features), 0)
        classifier.fit(cohort(*train), cohort(*valid))
        used = "nuc_solidity" in classifier.explain(new[0][0]).names
        assert used == (features == "all")
        assert (roc_auc_score(new[1], classifier.predict(new[0])) > 0.9) == used
