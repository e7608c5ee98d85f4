from __future__ import annotations

import numpy as np
import pytest

from kras_classifier_mlp import MlpOptions
from kras_classifier_mlp.classifier import MlpClassifier
from kras_plugins import Cohort, Sample, SemanticProfile

NAMES = ("area", "density", "ratio", "distance", "entropy")


def patients(n, seed, transform=lambda values: values, order=(0, 1, 2, 3, 4)):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int8)
    values = rng.normal(size=(n, 5))
    values[labels == 1, 1] += 2.5
    values = transform(values)
    profiles = [
        SemanticProfile(
            id=str(i),
            names=tuple(NAMES[k] for k in order),
            values=row[list(order)],
            valid={"A": i % 4 != 1},
            source="s",
        )
        for i, row in enumerate(values)
    ]
    return [Sample(patient_id=p.id, profile=p) for p in profiles], labels


def fit(samples, labels, **options):
    classifier = MlpClassifier(MlpOptions(**{"seeds": 4, "epochs": 60, **options}), seed=0)
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


def test_contributions_are_the_integral_of_the_gradient(classifier):
    """Numerically: ten thousand steps from the median to the patient, gradients by central differences."""
    (sample,) = patients(1, 7)[0]
    why = classifier.explain(sample)
    x = classifier._preprocessor.scaled([sample])

    def score(rows):
        _, hidden, out, base = classifier._forward(rows)
        return (np.maximum(hidden, 0) @ out + base).mean(axis=0)[:, 0]

    path = (np.arange(10_000)[:, None] + 0.5) / 10_000 * x
    eps = 1e-6
    steps = np.eye(x.shape[1]) * eps
    gradient = [((score(path + s) - score(path - s)) / (2 * eps)).mean() for s in steps]
    np.testing.assert_allclose(why.values, x[0] * gradient, atol=1e-3)
    assert why.base == pytest.approx(score(np.zeros_like(x))[0])


def test_contributions_are_complete_and_name_the_informative_feature(classifier):
    samples, labels = patients(30, 5)
    for sample, score in zip(samples, classifier.predict(samples), strict=True):
        why = classifier.explain(sample)
        assert why.values.sum() + why.base == pytest.approx(score, rel=1e-5, abs=1e-6)
    positive = [classifier.explain(s) for s, y in zip(samples, labels, strict=True) if y]
    assert positive[0].names[np.argmax(np.mean([w.values for w in positive], axis=0))] == "density"


def test_a_patient_at_the_median_has_no_contributions(classifier):
    preprocessor = classifier._preprocessor
    profile = SemanticProfile(
        id="m",
        names=preprocessor.features,
        values=np.array(preprocessor.median[: len(preprocessor.features)]),
        valid={"A": True},
        source="s",
    )
    why = classifier.explain(Sample(patient_id="m", profile=profile))
    np.testing.assert_array_equal(why.values, 0)


def test_the_order_of_columns_does_not_matter():
    a = fit(*patients(40, 0))
    b = fit(*patients(40, 0, order=(4, 2, 0, 1, 3)))
    samples = patients(20, 1)[0]
    np.testing.assert_array_equal(a.predict(samples), b.predict(patients(20, 1, order=(3, 1, 2, 4, 0))[0]))


def test_units_of_features_do_not_matter():
    def other(values):
        return values * 1e6 + 3e5

    a, b = fit(*patients(40, 0)), fit(*patients(40, 0, other))
    np.testing.assert_allclose(a.predict(patients(20, 1)[0]), b.predict(patients(20, 1, other)[0]), atol=1e-3)


def test_an_outlier_does_not_rule_the_score(classifier):
    (sample,) = patients(1, 7)[0]
    scores = []
    for value in (1e3, 1e9):
        values = sample.profile.values.copy()
        values[1] = value
        profile = SemanticProfile(id="o", names=NAMES, values=values, valid={"A": True}, source="s")
        scores += classifier.predict([Sample(patient_id="o", profile=profile)]).tolist()
    assert scores[0] == scores[1]


def test_the_score_is_the_mean_over_the_networks(classifier):
    samples = patients(10, 3)[0]
    parameters = classifier._parameters
    singles = []
    for k in range(4):
        one = MlpClassifier(MlpOptions(), 0)
        one._preprocessor = classifier._preprocessor
        one._parameters = {name: p[k : k + 1] for name, p in parameters.items()}
        singles.append(one.predict(samples))
    assert np.ptp(singles, axis=0).max() > 0.01  # the networks differ
    np.testing.assert_allclose(classifier.predict(samples), np.mean(singles, axis=0), rtol=1e-5, atol=1e-6)
