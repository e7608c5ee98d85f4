from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import RandomForestClassifier

from kras_classifier_rf import RfOptions
from kras_classifier_rf.classifier import RfClassifier
from kras_classifier_rf.forest import Forest
from kras_plugins import Cohort, Sample, SemanticProfile, StoreError

NAMES = tuple("abcdef")


def patients(n, seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    values = rng.normal(size=(n, 6))
    values[labels == 1, 2] += 2
    samples = [
        Sample(patient_id=str(i), profile=SemanticProfile(id=str(i), names=NAMES, values=row, valid={}, source="s"))
        for i, row in enumerate(values)
    ]
    return samples, labels


def parts(samples, labels, cut=40):
    return [
        Cohort(samples=samples[p], labels=labels[p], groups=[s.patient_id for s in samples[p]])
        for p in (slice(cut), slice(cut, None))
    ]


@pytest.fixture(scope="module")
def classifier():
    classifier = RfClassifier(RfOptions(trees=150), seed=3)
    classifier.fit(*parts(*patients(60, 0)))
    return classifier


def test_scores_are_those_of_scikit_learn_on_both_parts(classifier):
    samples, labels = patients(60, 0)
    forest = RandomForestClassifier(
        150,
        max_features="sqrt",
        min_samples_leaf=5,
        class_weight="balanced_subsample",
        random_state=3,
    ).fit(np.stack([s.profile.values for s in samples]).astype(np.float32), labels)
    fresh = patients(50, 1)[0]
    expected = forest.predict_proba(np.stack([s.profile.values for s in fresh]))[:, 1]
    np.testing.assert_allclose(classifier.predict(fresh), expected, rtol=1e-6)


def test_contributions_of_a_tree_are_the_changes_along_its_path():
    """      0: x0 ≤ 0.5, value 0.5
    1: leaf 0.25        2: x1 ≤ 2, value 0.75
                        3: leaf 1.0    4: leaf 0.5
    """  # fmt: skip
    tree = Forest(
        roots=np.array([0], np.int32),
        left=np.array([1, -1, 3, -1, -1], np.int32),
        right=np.array([2, -1, 4, -1, -1], np.int32),
        feature=np.array([0, -2, 1, -2, -2], np.int32),
        threshold=np.array([0.5, -2, 2, -2, -2]),
        value=np.array([0.5, 0.25, 0.75, 1.0, 0.5]),
    )
    score, contribution = tree.walk(np.array([[0.5, 9], [1, 2], [1, 3]], np.float32))
    np.testing.assert_array_equal(score, [0.25, 1.0, 0.5])
    np.testing.assert_array_equal(contribution, [[-0.25, 0], [0.25, 0.25], [0.25, -0.25]])
    assert tree.base == 0.5


def test_scores_are_those_of_the_walk_that_explains_them_to_the_last_bit(classifier):
    table = np.random.default_rng(0).normal(size=(150, len(classifier._preprocessor.columns))).astype(np.float32)
    forest = classifier._forest
    np.testing.assert_array_equal(forest.score(table), forest.walk(table)[0])
    assert forest.score(table[:0]).shape == (0,)


def test_the_informative_feature_contributes_most(classifier):
    samples, labels = patients(60, 5)
    values = np.mean([classifier.explain(s).values for s, y in zip(samples, labels, strict=True) if y], axis=0)
    assert classifier.explain(samples[0]).names[np.argmax(values)] == "c"


def test_the_number_of_threads_does_not_matter(classifier):
    threaded = RfClassifier(RfOptions(trees=150, jobs=2), seed=3)
    threaded.fit(*parts(*patients(60, 0)))
    fresh = patients(50, 1)[0]
    np.testing.assert_array_equal(threaded.predict(fresh), classifier.predict(fresh))


def test_scores_are_shares(classifier):
    scores = classifier.predict(patients(50, 1)[0])
    assert (scores >= 0).all()
    assert (scores <= 1).all()


def test_what_is_saved_does_not_tell_how_many_cores_grew_it(tmp_path):
    saved = []
    for jobs in (1, 2):
        classifier = RfClassifier(RfOptions(trees=20, jobs=jobs), seed=3)
        classifier.fit(*parts(*patients(60, 0)))
        (tmp_path / str(jobs)).mkdir()
        classifier.save(tmp_path / str(jobs))
        saved.append({f.name: f.read_bytes() for f in (tmp_path / str(jobs)).iterdir()})
    assert saved[0] == saved[1]


def tampered(name, at, value):
    """A change of one number of one array of a forest's file."""

    def change(arrays):
        arrays[name][at] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tampered("left", 0, 0), "after its parent"),
        (tampered("right", 0, 2**30), "after its parent"),
        (tampered("roots", 0, -5), "root or a column"),
        (tampered("feature", 0, 99), "root or a column"),
        (tampered("value", 0, np.nan), "not a number"),
        (tampered("threshold", 0, np.nan), "not a number"),
        (lambda arrays: arrays.pop("value"), "other arrays"),
        (lambda arrays: arrays.update(left=arrays["left"].astype(np.float64)), "other arrays"),
        (lambda arrays: arrays.update(value=arrays["value"][:-1]), "differ in length"),
    ],
)
def test_a_forest_that_could_not_be_walked_to_its_end_is_refused(classifier, tmp_path, change, said):
    classifier.save(tmp_path)
    arrays = load_file(tmp_path / "forest.safetensors")
    change(arrays)
    save_file(arrays, tmp_path / "forest.safetensors")
    with pytest.raises(StoreError, match=said):
        RfClassifier.load(tmp_path)


def test_threads_of_a_fit_leave_the_warning_filters_alone_and_warn_of_nothing(capfd):
    """scikit-learn's threads replace Python's only list of filters: switching often, they lose it."""
    often, filters = sys.getswitchinterval(), list(warnings.filters)
    sys.setswitchinterval(1e-6)
    try:
        for seed in range(5):
            RfClassifier(RfOptions(trees=50, jobs=8), seed=seed).fit(*parts(*patients(60, 0)))
    finally:
        sys.setswitchinterval(often)
    assert warnings.filters == filters and filters
    assert capfd.readouterr().err == ""
