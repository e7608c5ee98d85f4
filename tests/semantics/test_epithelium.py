"""Cancer epithelium from tumor-cell density."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kras_plugins.semantics.epithelium import BACKGROUND, EPITHELIUM, OTHER, STROMA, _dilated, density_tissue
from kras_plugins.semantics.raster import Raster

RASTER = Raster(shape=(400, 400), mpp=4.0)
ALL = np.ones((400, 400), bool)


def lattice(x0, y0, x1, y1, per_mm2):
    step = 1000 / np.sqrt(per_mm2)
    x, y = np.meshgrid(np.arange(x0 + step / 2, x1, step), np.arange(y0 + step / 2, y1, step))
    return np.stack([x.ravel(), y.ravel()], 1)


def tissue_of(xy, tissue=ALL, raster=RASTER):
    return density_tissue(xy[:, 0], xy[:, 1], tissue, raster)


def test_a_loose_nest_becomes_epithelium_of_its_own_area():
    found = tissue_of(lattice(500, 500, 1000, 1100, 2000))
    area = np.count_nonzero(found == EPITHELIUM) * RASTER.pixel_mm2
    assert abs(area / (0.5 * 0.6) - 1) < 0.08
    assert (found[140:260, 140:240] == EPITHELIUM).all()


def test_stroma_is_a_band_of_200_um_around_it():
    found = tissue_of(lattice(600, 600, 1000, 1000, 4000))
    row = found[200]
    stroma = np.count_nonzero(row[200:] == STROMA) * 4
    assert abs(stroma - 200) <= 8
    assert (found == OTHER).any() and not (found == BACKGROUND).any()


def test_scattered_tumor_cells_are_not_epithelium():
    found = tissue_of(lattice(200, 200, 1400, 1400, 200))
    assert (found == OTHER).all()


def test_a_small_hole_is_filled_and_a_lumen_is_not():
    xy = lattice(400, 400, 1200, 1200, 5000)
    small = np.hypot(*(xy - 600).T) < 25  # 0.002 mm²
    large = np.hypot(*(xy - 1000).T) < 110
    found = tissue_of(xy[~small & ~large])
    assert found[150, 150] == EPITHELIUM
    assert found[250, 250] != EPITHELIUM


def test_epithelium_never_leaves_the_tissue():
    tissue = ALL.copy()
    tissue[:, 200:] = False
    found = tissue_of(lattice(400, 400, 1200, 1200, 3000), tissue)
    assert (found[:, 200:] == BACKGROUND).all()
    assert (found[150:250, 150:190] == EPITHELIUM).all()


def test_no_tumor_cells_leave_tissue_unnamed():
    found = tissue_of(np.zeros((0, 2)))
    assert (found == OTHER).all()


def test_a_coarser_raster_gives_nearly_the_same_area():
    xy = lattice(300, 300, 1300, 900, 2500)
    coarse = Raster(shape=(200, 200), mpp=8.0)
    fine_area = np.count_nonzero(tissue_of(xy) == EPITHELIUM) * 16
    coarse_area = np.count_nonzero(tissue_of(xy, np.ones((200, 200), bool), coarse) == EPITHELIUM) * 64
    assert abs(coarse_area / fine_area - 1) < 0.03


def test_a_nest_that_fills_the_raster_is_all_epithelium():
    assert (tissue_of(lattice(0, 0, 1600, 1600, 5000)) == EPITHELIUM)[10:-10, 10:-10].all()


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([0, 0.002, 0.02, 0.2, 1]),
    st.one_of(st.sampled_from([1.875, 3.75, 5.0]), st.floats(0, 70), st.integers(0, 1600).map(math.sqrt)),
    st.integers(0, 2**32 - 1),
)
def test_a_mask_is_dilated_as_far_as_a_distance_map_says(shape, share, radius, seed):
    """Also by roots of whole numbers, which distances are; a distance map of nothing is undefined."""
    mask = np.random.default_rng(seed).random(shape) < share
    expected = ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask
    np.testing.assert_array_equal(_dilated(mask, radius), expected)
