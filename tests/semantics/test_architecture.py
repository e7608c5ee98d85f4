"""Shapes of epithelium against geometry and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from skimage.measure import label, regionprops

from kras_plugins.semantics.crofton import perimeters
from kras_plugins.semantics.features.architecture import (
    architecture,
    components,
    fractal_dimension,
    fragmented,
    hull_areas,
    lumens,
    nest_width,
)
from kras_plugins.semantics.view import View


@pytest.fixture
def blobs():
    return gaussian_filter(np.random.default_rng(0).normal(size=(220, 260)), 6) > 0.02


def test_components_pass_the_published_filters(make_map):
    regions = (
        ("cancer_stroma", 0, 0, 1000, 1000),
        ("cancer_epithelium", 100, 100, 132, 132),  # 1,024 µm²
        ("cancer_epithelium", 200, 200, 228, 232),  # 896 µm²: too small
        ("cancer_epithelium", 1200, 100, 1300, 200),  # touches no stroma
        ("cancer_epithelium", 400, 400, 480, 440),
        ("cancer_epithelium", 440, 440, 480, 480),  # touches the last by a side: one component
        ("cancer_epithelium", 480, 480, 520, 520),  # by a corner: another
    )
    v = architecture(View(make_map(regions=regions)))
    assert v["n_ce_components"] == 3
    ta = 1 + 0.01
    assert v["tfi"] == pytest.approx(3 / ta) and v["tfi_high"] == 0
    assert v["ce_component_p50"] == pytest.approx(1600 / 1e6)
    assert v["ce_largest_share"] == pytest.approx(4800 / 7424)
    assert v["ce_component_gini"] == pytest.approx(2 * (1024 + 2 * 1600 + 3 * 4800) / (3 * 7424) - 4 / 3)


def test_fragmentation_is_called_at_35():
    assert fragmented({"tfi": 35.0}) == {"tfi_high": 1} and fragmented({"tfi": 34.9}) == {"tfi_high": 0}
    assert np.isnan(fragmented({"tfi": float("nan")})["tfi_high"])


def test_hulls_are_those_of_all_corners(blobs):
    labels = label(blobs, connectivity=1).astype(np.int32)
    n = int(labels.max())
    regions = regionprops(labels)
    corners = [np.concatenate([r.coords + d for d in ((0, 0), (0, 1), (1, 0), (1, 1))]) for r in regions]
    np.testing.assert_allclose(hull_areas(labels, n), [ConvexHull(c).volume for c in corners])


def test_a_disk_is_round_and_solid_and_an_l_is_not(make_map):
    regions = (
        ("cancer_stroma", 0, 0, 2000, 2000),
        ("cancer_epithelium", 400, 400, 800, 1200),
        ("cancer_epithelium", 800, 400, 1200, 800),
    )
    v = architecture(View(make_map(regions=regions)))
    assert v["ce_solidity"] == pytest.approx(0.48 / 0.56, rel=0.001)
    y, x = np.mgrid[:300, :300] - 149.5
    disk = (np.hypot(x, y) < 100).astype(np.int32)
    assert 4 * np.pi * disk.sum() / perimeters(disk, 1)[0] ** 2 == pytest.approx(1, rel=0.02)
    assert disk.sum() / hull_areas(disk, 1)[0] == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("width", [6, 15, 31])
@pytest.mark.parametrize("degrees", [0, 15, 30, 45])
def test_the_width_of_strips_is_found_in_any_direction(width, degrees):
    """To a pixel, as a distance is right to a quarter of one."""
    y, x = np.mgrid[:400, :400] - 199.5
    a = np.deg2rad(degrees)
    strips = (x * np.sin(a) + y * np.cos(a) + 1000) % 60 < width
    everything = np.ones(strips.shape, bool)
    assert nest_width(strips, everything) == pytest.approx(width, abs=1.1)
    assert np.isnan(nest_width(everything, everything)) and np.isnan(nest_width(~everything, everything))


def test_the_width_of_nests_is_four_times_the_mean_distance_to_their_edge():
    """Of a disk two thirds of its diameter, of a square two thirds of its side; by area, not by number."""
    y, x = np.mgrid[:500, :500]
    disk, square = np.hypot(x - 130, y - 130) < 100, (x >= 300) & (x < 420) & (y >= 300) & (y < 420)
    everything = np.ones(disk.shape, bool)
    assert nest_width(disk, everything) == pytest.approx(400 / 3, rel=0.02)
    assert nest_width(square, everything) == pytest.approx(80, rel=0.02)
    areas = disk.sum(), square.sum()
    both = np.average([nest_width(disk, everything), nest_width(square, everything)], weights=areas)
    assert nest_width(disk | square, everything) == pytest.approx(both)


def test_where_the_slide_ends_a_nest_goes_on():
    """A strip of which the lower half was not looked at is as wide as what was seen, counted from its upper edge."""
    strip = np.zeros((200, 400), bool)
    strip[80:120] = True
    seen = np.ones(strip.shape, bool)
    seen[120:] = False
    assert nest_width(strip, seen) == pytest.approx(80, abs=2)


def test_a_straight_edge_has_dimension_one_and_a_plane_two():
    edge = np.zeros((1024, 1024), bool)
    edge[512] = True
    assert fractal_dimension(edge, 4.0) == pytest.approx(1, abs=0.01)
    assert fractal_dimension(np.ones((1024, 1024), bool), 4.0) == pytest.approx(2, abs=0.01)
    moved = np.zeros((1100, 1100), bool)
    moved[37 : 37 + 1024, 41 : 41 + 1024] = koch = _koch()
    assert fractal_dimension(moved, 4.0) == fractal_dimension(koch, 4.0) == pytest.approx(1.26, abs=0.06)
    assert np.isnan(fractal_dimension(np.zeros((9, 9), bool), 4.0))


def _koch():
    """The pixels of a Koch curve over 1,024 pixels, whose dimension is ln 4 / ln 3."""
    points = np.array([0, 1 + 0j])
    for _ in range(7):
        a, b = points[:-1], points[1:]
        third = (b - a) / 3
        points = np.append(
            np.stack([a, a + third, a + third * (1 + np.exp(1j * np.pi / 3)), b - third], 1).ravel(), b[-1]
        )
    along = points[:-1, None] + np.diff(points)[:, None] * np.linspace(0, 1, 3)
    mask = np.zeros((1024, 1024), bool)
    mask[(along.imag * 1023).astype(int), (along.real * 1023).astype(int)] = True
    return mask


def test_lumens_are_clear_closed_and_of_the_right_size(make_map):
    regions = (
        ("cancer_stroma", 0, 0, 2000, 2000),
        ("cancer_epithelium", 400, 400, 1400, 1400),
        ("background", 500, 500, 540, 560),  # 2,400 µm²: counts
        ("background", 600, 600, 608, 612),  # 96 µm²: too small
        ("background", 700, 700, 1000, 900),  # 60,000 µm²: too large
        ("background", 380, 1000, 440, 1040),  # open to stroma
        ("mucin", 1100, 1100, 1140, 1140),  # not clear
    )
    v = architecture(View(make_map(regions=regions)))
    ce = 1e6 - 2400 - 96 - 60_000 - 40 * 40 - 1600
    assert v["lumen_share"] == pytest.approx(2400 / ce)
    hole = np.zeros((9, 9), bool)
    hole[3:6, 3:6] = True
    assert lumens(hole, ~hole, 8.0) == 576


def test_stroma_width_is_a_quarter_of_the_septum(make_map):
    """Distances in a septum of 200 µm run evenly from 0 to 100 µm."""
    stripes = tuple(("cancer_epithelium", x, 0, x + 200, 2000) for x in range(0, 2000, 400))
    v = architecture(View(make_map(regions=(("cancer_stroma", 0, 0, 1800, 2000), *stripes))))
    assert v["stroma_width"] == pytest.approx(50, abs=2)
    assert not np.isnan(v["interface_fractal"])
    # four stripes of 200 µm, and one that the slide's end cuts in half
    assert v["nest_width"] == pytest.approx((4 * 200 + 400) / 5, abs=5)


def test_a_tumor_without_components_has_no_shapes(make_map):
    v = architecture(View(make_map(regions=(("cancer_epithelium", 100, 100, 700, 700),))))
    assert v["n_ce_components"] == 0 == v["tfi"] and np.isnan(v["ce_solidity"]) and np.isnan(v["stroma_width"])
    labels, sizes = components(np.zeros((5, 5), bool), np.zeros((5, 5), bool), 4.0)
    assert labels.sum() == 0 and len(sizes) == 0
