"""Tiling: exact shares, the rules of the grid, micrometers rather than pixels, speed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.data import TileSpec
from kras_plugins.slides.tiles import cover_grid, tile_grid
from kras_plugins.slides.tissue import TissueMask, find_tissue


@dataclass
class Sheet:
    """A slide as tiling sees it; `own` is a level's mpp that is read in place of the one asked for."""

    size: tuple[int, int]
    mpp: tuple[float, float] = (0.5, 0.5)
    own: float | None = None

    def actual_mpp(self, mpp: float) -> float:
        return self.own or mpp


def mask_of(mask: np.ndarray, mpp: float = 8.0, pen: np.ndarray | None = None) -> TissueMask:
    return TissueMask(mask=mask, pen=np.zeros_like(mask) if pen is None else pen, mpp=mpp)


FULL = mask_of(np.ones((100, 150), bool))  # 1,200 by 800 µm
SHEET = Sheet((2400, 1600))
SPEC = TileSpec(px=200, mpp=0.5)  # 100 µm


def test_a_slide_full_of_tissue_is_cut_into_all_its_tiles_rows_first() -> None:
    grid = tile_grid(SHEET, FULL, SPEC)
    expected = [(x, y) for y in range(0, 1600, 200) for x in range(0, 2400, 200)]
    assert grid.xy.dtype == np.int32
    assert grid.xy.tolist() == [list(c) for c in expected]
    assert grid.size == (200.0, 200.0)
    assert grid.spec == SPEC
    assert grid.tissue.dtype == np.float32
    np.testing.assert_allclose(grid.tissue, 1, rtol=1e-6)


def test_shares_equal_those_counted_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((100, 150)) < 0.6
    grid = cover_grid(SHEET, mask_of(mask), TileSpec(px=224, mpp=0.5))
    fine = mask.repeat(16, 0).repeat(16, 1)  # one value a level-0 pixel
    fine = np.pad(fine, ((0, 224), (0, 224)))
    counted = [fine[y : y + 224, x : x + 224].mean() for x, y in grid.xy]
    np.testing.assert_allclose(grid.tissue, counted, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    px=st.integers(16, 700),
    mpp=st.floats(0.2, 2.0),
    anisotropy=st.floats(0.8, 1.25),
    density=st.floats(0.05, 1.0),
    seed=st.integers(0, 9),
)
def test_covering_tiles_hold_all_tissue_once(
    shape: tuple[int, int], px: int, mpp: float, anisotropy: float, density: float, seed: int
) -> None:
    mask = np.random.default_rng(seed).random(shape) < density
    slide = Sheet((shape[1] * 16 + 3, shape[0] * 16 - 5), mpp=(0.5, 0.5 * anisotropy))
    grid = cover_grid(slide, mask_of(mask), TileSpec(px=px, mpp=mpp))
    pixel = slide.size[0] * slide.size[1] / mask.size  # level-0 px² of a mask pixel
    area = grid.tissue.astype(float).sum() * grid.size[0] * grid.size[1]
    assert area == pytest.approx(mask.sum() * pixel, rel=1e-4, abs=1e-3 * pixel)
    assert (grid.tissue > 0).all()
    assert (grid.tissue <= 1).all()
    assert len(np.unique(grid.xy, axis=0)) == len(grid)


def test_only_tiles_with_enough_tissue_are_kept() -> None:
    mask = np.zeros((100, 150), bool)
    mask[:, :30] = True  # 240 µm: two tiles and 40 % of the third
    assert set(tile_grid(SHEET, mask_of(mask), SPEC).xy[:, 0].tolist()) == {0, 200}
    assert set(tile_grid(SHEET, mask_of(mask), SPEC, min_tissue=0.39).xy[:, 0].tolist()) == {0, 200, 400}
    assert set(cover_grid(SHEET, mask_of(mask), SPEC).xy[:, 0].tolist()) == {0, 200, 400}


def test_what_lies_beyond_the_edge_is_no_tissue() -> None:
    slide = Sheet((1120, 1000))  # 5.6 tiles by 5
    tissue = mask_of(np.ones((125, 140), bool), mpp=4.0)
    grid = tile_grid(slide, tissue, SPEC)
    assert len(grid) == 30
    np.testing.assert_allclose(grid.tissue[grid.xy[:, 0] == 1000], 0.6, rtol=1e-5)
    assert len(tile_grid(slide, tissue, SPEC, min_tissue=0.7)) == 25


def test_tiles_under_pen_are_left_out() -> None:
    pen = np.zeros((100, 150), bool)
    pen[:, 25:29] = True  # 32 of 100 µm in the third column
    pen[:, 63:65] = True  # 16 of 100 µm in the sixth
    grid = tile_grid(SHEET, mask_of(~pen, pen=pen), SPEC)
    assert sorted(set(grid.xy[:, 0].tolist())) == [x for x in range(0, 2400, 200) if x != 400]
    assert len(cover_grid(SHEET, mask_of(~pen, pen=pen), SPEC)) == 96


def test_no_tissue_and_too_small_a_slide_give_an_empty_grid() -> None:
    empty = mask_of(np.zeros((100, 150), bool))
    for grid in (tile_grid(SHEET, empty, SPEC), cover_grid(SHEET, empty, SPEC)):
        assert len(grid) == 0
        assert grid.xy.shape == (0, 2)
        assert grid.tissue.shape == (0,)
    small = Sheet((190, 190)), mask_of(np.ones((12, 12), bool))
    assert len(tile_grid(*small, SPEC)) == 0
    assert len(cover_grid(*small, SPEC)) == 1


def test_the_resolution_truly_read_sets_the_size() -> None:
    slide = Sheet((2400, 1600), own=0.504)
    grid = tile_grid(slide, FULL, SPEC)
    assert grid.spec == TileSpec(px=200, mpp=0.504)
    assert grid.size == pytest.approx((201.6, 201.6))
    columns = np.unique(grid.xy[:, 0])
    np.testing.assert_array_equal(columns, np.rint(np.arange(len(columns)) * 201.6))


def test_pixels_that_are_not_square_give_tiles_that_are_square_in_micrometers() -> None:
    slide = Sheet((2400, 3200), mpp=(0.5, 0.25))
    grid = tile_grid(slide, FULL, TileSpec(px=200, mpp=0.5, halo_px=32))
    assert grid.size == (200.0, 400.0)
    assert grid.spec.halo_px == 32
    assert len(grid) == 12 * 8
    np.testing.assert_allclose(grid.tissue, 1, rtol=1e-6)


def test_the_same_tissue_on_a_finer_scan_gives_the_same_tiles() -> None:
    mask = np.random.default_rng(1).random((100, 150)) < 0.5
    coarse = tile_grid(SHEET, mask_of(mask), SPEC)
    fine = tile_grid(Sheet((4800, 3200), mpp=(0.25, 0.25)), mask_of(mask), SPEC)
    np.testing.assert_array_equal(fine.xy, coarse.xy * 2)
    np.testing.assert_allclose(fine.tissue, coarse.tissue, rtol=1e-6)


def test_a_large_slide_is_tiled_fast() -> None:
    rng = np.random.default_rng(2)
    mask = rng.random((3000, 4000)) < 0.9  # 24 by 32 mm
    slide = Sheet((64_000, 48_000))
    began = time.process_time()
    grid = tile_grid(slide, mask_of(mask), TileSpec(px=224, mpp=0.5))
    assert len(grid) > 50_000
    assert time.process_time() - began < 1.0


def test_tiles_of_a_real_slide_lie_on_its_tissue(shared_data: Path) -> None:
    import openslide
    from PIL import Image

    with openslide.OpenSlide(shared_data / "slides" / "cmu_small_region.svs") as source:
        region = source.read_region((0, 0), 0, source.dimensions).convert("RGB")
    thumbnail = np.asarray(region.resize((region.width // 16, region.height // 16), Image.Resampling.BOX))
    tissue = find_tissue(thumbnail, 8.0)
    grid = tile_grid(Sheet(region.size, mpp=(0.499, 0.499)), tissue, TileSpec(px=224, mpp=0.499))
    assert 40 <= len(grid) <= 65
    pixels = np.asarray(region).astype(int)
    chroma = [np.ptp(pixels[y : y + 224, x : x + 224], axis=2).mean() for x, y in grid.xy]
    assert min(chroma) > 20, "glass has next to no color"
