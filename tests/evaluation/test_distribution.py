"""Quantiles of training patients' features, and where a new patient lies among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kras_plugins.data import SemanticProfile
from kras_plugins.evaluation.distribution import AT, percentile, quantiles_of, training_distribution


def profiles(values: np.ndarray) -> list[SemanticProfile | None]:
    """Profiles with these rows, and a patient without one."""
    names = tuple(f"f{i}" for i in range(values.shape[1]))
    return [
        None,
        *(SemanticProfile(id=str(i), names=names, values=v, valid={}, source="") for i, v in enumerate(values)),
    ]


def test_quantiles_are_those_of_the_patients_who_have_the_feature() -> None:
    values = np.stack([np.arange(101.0), np.arange(101.0) ** 2], 1)
    values[::2, 1] = np.nan
    found = training_distribution(profiles(values))
    assert found is not None
    assert found["n"] == 101
    assert quantiles_of(found, "f0") == AT
    assert quantiles_of(found, "f1") == pytest.approx(np.percentile(np.arange(1, 101, 2) ** 2, AT), rel=1e-5)
    assert quantiles_of(found, "other") == quantiles_of(None, "f0") == ()


def test_no_single_patient_can_be_read_from_a_bundle() -> None:
    assert training_distribution(profiles(np.random.default_rng(0).random((19, 2)))) is None
    some = np.random.default_rng(0).random((40, 2))
    some[19:, 1] = np.nan
    found = training_distribution(profiles(some))
    assert found is not None
    assert set(found["features"]) == {"f0"}
    assert not {some[:, 0].min(), some[:, 0].max()} & set(found["features"]["f0"])
    assert training_distribution([]) is None


def test_a_value_lies_where_its_share_of_patients_lies_below_it() -> None:
    q = [float(p) ** 2 for p in AT]
    assert [percentile(v, q) for v in (-1.0, 25.0, 50.0**2, 95.0**2, 1e9)] == [5, 5, 50, 95, 95]
    assert 50 < percentile(52.0**2, q) < 55
    assert percentile(0.0, [0.0] * 10 + [float(i) for i in range(1, 10)]) == 27.5, "the middle of those who share it"


@given(st.lists(st.floats(-1e6, 1e6), min_size=19, max_size=19), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_percentiles_grow_with_the_value_and_stay_within_5_and_95(q: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 5 <= percentile(low, sorted(q)) <= percentile(high, sorted(q)) <= 95
