"""Distances on rasters against scipy and geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kras_plugins.semantics.distance import distance_to, distance_to_edge


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([0, 0.002, 0.02, 0.2, 1]),
    st.sampled_from([1.0, 4.0, 0.3]),
    st.integers(0, 2**32 - 1),
)
def test_distances_are_those_of_scipy_to_the_last_bit(shape, share, unit, seed):
    mask = np.random.default_rng(seed).random(shape) < share
    if not mask.any():
        assert np.isinf(distance_to(mask, unit)).all()
        return
    expected = ndimage.distance_transform_edt(~mask)
    np.testing.assert_array_equal(distance_to(mask, unit), (expected * unit).astype(np.float32))
    turned = distance_to(mask[::-1].T, unit)  # not laid out row by row
    np.testing.assert_array_equal(turned, (expected[::-1].T * unit).astype(np.float32))


@pytest.mark.parametrize("degrees", [0, 7, 26.57, 33, 45, 61])
def test_the_distance_from_an_edge_is_right_in_any_direction(degrees):
    """To a quarter of a pixel on average: what lies beyond it is half a pixel away, or nearer where it slants."""
    y, x = np.mgrid[:300, :300] - 149.3
    a = np.deg2rad(degrees)
    signed = x * np.cos(a) + y * np.sin(a)
    found = distance_to_edge(signed < 0, signed >= 0)
    inner = np.hypot(x, y) < 90
    error = (found - np.abs(signed))[inner]
    assert abs(np.mean(error)) <= 0.26 and np.abs(error).max() < 0.75


def test_masks_that_do_not_touch_have_no_edge():
    left, right = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    left[:, :3] = True
    right[:, 5:] = True
    assert np.isinf(distance_to_edge(left, right)).all()
    right[4, 3:] = True  # they touch at one pixel: in its row the edge lies between columns 2 and 3
    found = distance_to_edge(left, right)
    assert found[4].tolist() == [2.75, 1.75, 0.75, 0.75, 1.75, 2.75, 3.75, 4.75, 5.75]
