"""Lengths of drawn edges, whatever their direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.measure import label

from kras_plugins.semantics.crofton import edge_length, perimeters


def rotated(degrees, shift=(0.0, 0.0), size=300):
    """Coordinates of pixels along and across a direction, from a point near the middle."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    a = np.deg2rad(degrees)
    x, y = x - shift[0], y - shift[1]
    return x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)


anywhere = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.floats(0, 180), anywhere)
def test_a_straight_edge_is_right_to_two_percent_in_any_direction(degrees, shift):
    along, across = rotated(degrees, shift)
    inside = np.hypot(along, across) < 145
    found = edge_length((across < 0) & inside, (across >= 0) & inside)
    assert found == pytest.approx(290, rel=0.02)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.floats(0, 90), anywhere)
def test_a_rectangle_is_right_to_two_percent_in_any_direction(degrees, shift):
    along, across = rotated(degrees, shift)
    one = (np.abs(along) < 80) & (np.abs(across) < 60)
    assert edge_length(one, ~one) == pytest.approx(560, rel=0.02)


@pytest.mark.parametrize("radius", [6, 10, 25, 60, 120])
def test_a_disk_has_its_circumference_even_where_it_is_small(radius):
    """Of 24 µm, the smallest component of cancer epithelium, and more: on average over where it lies."""
    found = []
    for shift in np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2)):
        one = np.hypot(*rotated(0, shift)) < radius
        found.append(edge_length(one, ~one))
    assert np.mean(found) == pytest.approx(2 * np.pi * radius, rel=0.02)


def test_a_thin_septum_has_two_sides():
    """Three pixels of stroma between two nests; a smoothed mask would lose a part of it."""
    nests = np.ones((200, 200), bool)
    nests[:, 100:103] = False
    assert edge_length(nests, ~nests) == pytest.approx(400, rel=0.02)


def test_only_the_edge_between_the_two_counts():
    one, other = np.zeros((300, 300), bool), np.zeros((300, 300), bool)
    one[100:200, :100] = True
    other[100:200, 100:200] = True
    assert edge_length(one, other) == pytest.approx(100, rel=0.03) == edge_length(other, one)
    assert edge_length(one, np.zeros_like(one)) == 0
    assert edge_length(one[:1, :1], other[:1, :1]) == 0


def test_the_perimeter_of_each_component_is_its_edge_with_all_else():
    blobs = gaussian_filter(np.random.default_rng(0).normal(size=(180, 220)), 6) > 0.02
    labels = label(blobs, connectivity=1).astype(np.int32)
    n = int(labels.max())
    assert n > 10
    wide = np.pad(labels, 3)  # nothing lies beyond the raster
    expected = [edge_length(wide == k, wide != k) for k in range(1, n + 1)]
    np.testing.assert_allclose(perimeters(labels, n), expected)
