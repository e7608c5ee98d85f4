from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kras_plugins import ConfigError, Sample, SemanticProfile
from kras_plugins.learning.tabular import Preprocessor


def patients(values, names=None, valid=()):
    values = np.asarray(values, dtype=np.float64)
    names = names or tuple("abcdefgh"[: values.shape[1]])
    valid = valid or [{}] * len(values)
    return [
        Sample(
            patient_id=f"p{i}",
            profile=SemanticProfile(id=f"p{i}", names=tuple(names), values=row, valid=flags, source="s"),
        )
        for i, (row, flags) in enumerate(zip(values, valid, strict=True))
    ]


def noise(n, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns))


def test_missing_values_get_the_training_median_and_nothing_of_the_new_patients():
    fitted = Preprocessor.fit(patients([[1, 5], [2, 9], [3, np.nan], [10, 7]]))
    table = fitted.table(patients([[np.nan, np.nan], [1000, 1000]]))
    np.testing.assert_array_equal(table, [[2.5, 7], [1000, 1000]])


def test_scaling_is_robust_and_clipped():
    fitted = Preprocessor.fit(patients(np.arange(101.0)[:, None]))
    spread = 50 / 1.349
    np.testing.assert_allclose(fitted.scaled(patients([[50], [50 + spread], [1e9], [-1e9]]))[:, 0], [0, 1, 5, -5])


def test_scaled_normal_noise_has_unit_standard_deviation():
    values = noise(4000, 3) * (1, 100, 1e-4) + (0, 7, -3)
    scaled = Preprocessor.fit(patients(values)).scaled(patients(values))
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=0.05)


def test_a_feature_that_is_mostly_zero_is_scaled_by_its_standard_deviation():
    values = np.c_[noise(20, 1), np.r_[np.zeros(18), 1, 1]]
    fitted = Preprocessor.fit(patients(values))
    assert fitted.spread[1] == pytest.approx(0.3)


def test_absent_and_constant_features_are_dropped():
    values = noise(20, 4)
    values[:, 1] = np.nan
    values[:, 2] = 0.1 * 3 + np.arange(20) * 1e-17  # constant but for rounding
    values[:19, 3] = np.nan  # once observed: constant after imputation
    assert Preprocessor.fit(patients(values)).columns == ("a",)


def test_a_repeated_feature_is_dropped_even_when_the_relation_is_not_linear():
    x = noise(50, 2)
    values = np.c_[x[:, 0], np.exp(3 * x[:, 0]), -x[:, 0], x[:, 1]]
    assert Preprocessor.fit(patients(values)).columns == ("a", "d")


def test_weaker_correlation_is_kept():
    x = noise(200, 2)
    values = np.c_[x[:, 0], x[:, 0] + 0.6 * x[:, 1]]
    assert Preprocessor.fit(patients(values)).columns == ("a", "b")


def test_validity_becomes_a_column_but_missingness_never_does():
    values = noise(20, 2)
    values[::2, 0] = np.nan
    valid = [{"grid": i % 5 != 0, "always": True} for i in range(20)]
    fitted = Preprocessor.fit(patients(values, valid=valid))
    assert fitted.columns == ("a", "b", "invalid:grid")
    expected = np.arange(20) % 5 == 0
    np.testing.assert_array_equal(fitted.table(patients(values, valid=valid))[:, 2], expected)
    np.testing.assert_array_equal(fitted.scaled(patients(values, valid=valid))[:, 2], expected)


def test_features_are_matched_by_name():
    values = noise(30, 4)
    order = [2, 0, 3, 1]
    shuffled = patients(values[:, order], names=[("abcd")[i] for i in order])
    fitted = Preprocessor.fit(patients(values))
    assert Preprocessor.fit(shuffled) == fitted
    np.testing.assert_array_equal(fitted.table(shuffled), fitted.table(patients(values)))


def test_further_features_are_ignored_and_an_absent_one_is_named():
    fitted = Preprocessor.fit(patients(noise(20, 2)))
    np.testing.assert_array_equal(fitted.table(patients([[1, 2, 3]])), [[1, 2]])
    with pytest.raises(ConfigError, match="'p0' lacks the feature 'b'"):
        fitted.table(patients([[1]]))


def test_an_absent_validity_flag_is_named():
    valid = [{"grid": i % 3 != 0} for i in range(20)]
    fitted = Preprocessor.fit(patients(noise(20, 2), valid=valid))
    with pytest.raises(ConfigError, match="'grid"):
        fitted.table(patients([[1, 2]]))


def test_training_patients_with_different_features_are_refused():
    with pytest.raises(ConfigError, match="'b'"):
        Preprocessor.fit([*patients(noise(5, 2)), *patients(noise(1, 1))])


def test_an_infinite_value_is_refused():
    with pytest.raises(ConfigError, match="'p1' has an infinite value"):
        Preprocessor.fit(patients([[1, 2], [3, np.inf]]))


def test_no_usable_feature_is_an_error():
    with pytest.raises(ConfigError, match="no feature varies"):
        Preprocessor.fit(patients(np.full((5, 2), np.nan)))


@settings(deadline=None, max_examples=40)
@given(
    arrays(
        np.float64,
        (12, 4),
        elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.sampled_from([0.0, 1.0])),
    )
)
def test_whatever_the_values_the_table_is_finite_and_survives_json(values):
    samples = patients(np.c_[values, np.arange(12)])
    fitted = Preprocessor.fit(samples)
    again = Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    assert np.isfinite(again.scaled(samples)).all()
    assert np.abs(again.scaled(samples)).max() <= 5
