"""Pixels of exactly a rectangle: at every level a point lies where its level-0 coordinates say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from marked_slides import SIZE, Squares, centers, due, marked, mosaic
from tiff_files import images, noise, opened

from kras_plugins.slides.resample import downsample
from kras_plugins.slides.slide import Slide
from kras_plugins.viewer.geometry import Box, Pyramid

MPPS = [(0.25, 0.25), (0.2525, 0.2525), (0.5, 0.5), (0.25, 0.5), (0.3, 0.25)]
SLIDES = [*((mpp, (3, 4)) for mpp in MPPS), ((0.25, 0.25), (4, 2)), ((0.25, 0.5), (4, 2)), ((0.25, 0.25), (1, 4))]
"""Micrometres per pixel; levels and the factor between them."""


def pixels_of(slide: Slide) -> Callable[[Box, tuple[int, int]], np.ndarray]:
    return lambda box, size: slide.box((box.x, box.y), (box.width, box.height), size)


@pytest.mark.parametrize(("mpp", "way"), SLIDES)
def test_a_mark_lies_where_its_coordinates_say_at_every_level(tmp_path: Path, mpp, way) -> None:
    with opened(marked(tmp_path / "a.tif", mpp, *way), mpp=None) as slide:
        pyramid = Pyramid(slide.size, slide.mpp)
        assert slide.mpp == pytest.approx(mpp, rel=1e-3)
        for level in range(pyramid.top - 5, pyramid.top + 1):
            darkness = 255 - mosaic(pyramid, level, pixels_of(slide))[..., 0].astype(float)
            drawn = mosaic(pyramid, level, lambda box, size: Squares().draw(box, size, None))[..., 3]
            # Level-0 coordinates of OpenSlide are whole, a quarter of a pixel where the factor is 2. A factor of 4.005
            # instead of 4, which the sizes of the levels suggest, shifts the last mark by three quarters.
            assert centers(darkness, pyramid, level) == pytest.approx(due(pyramid, level), abs=0.3)
            assert centers(drawn, pyramid, level) == pytest.approx(due(pyramid, level), abs=0.3)


def test_full_resolution_of_an_isotropic_slide_is_level_0_bit_for_bit(tmp_path: Path) -> None:
    pixels = noise(700, 900)
    with opened(images(tmp_path / "a.tif", [(pixels, {})]), mpp=0.2525) as slide:
        pyramid = Pyramid(slide.size, slide.mpp)
        assert pyramid.display == (900, 700)
        assert pyramid.scale == (1, 1)
        assert np.array_equal(mosaic(pyramid, pyramid.top, pixels_of(slide)), pixels)


def test_tiles_side_by_side_are_one_picture(tmp_path: Path) -> None:
    """No pixel of a tile depends on where tiles end, also where they are interpolated."""
    with opened(images(tmp_path / "a.tif", [(noise(900, 1300), {"resolution": (40000, 20000)})]), mpp=None) as slide:
        pyramid = Pyramid(slide.size, slide.mpp)
        assert pyramid.display == (1300, 1800)
        for level in (pyramid.top, pyramid.top - 1):
            width, height = pyramid.level_size(level)
            down = 1 << (pyramid.top - level)
            extent = width * down / pyramid.scale[0], height * down / pyramid.scale[1]
            whole = slide.box((0, 0), extent, (width, height)).astype(int)
            assert np.abs(mosaic(pyramid, level, pixels_of(slide)) - whole).max() <= 1


def test_a_slide_without_small_levels_is_one_pixel_without_being_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(640, 1024)
    monkeypatch.setattr("kras_plugins.slides.slide.BLOCK_PX", 1 << 16)
    with opened(images(tmp_path / "a.tif", [(pixels, {})])) as slide:
        most = []
        read = slide._read_level
        monkeypatch.setattr(slide, "_read_level", lambda *a: most.append(a[2][0] * a[2][1]) or read(*a))
        one = slide.box((0, 0), (1024, 640), (1, 1))
    assert one[0, 0] == pytest.approx(pixels.mean((0, 1)), abs=1.5)
    assert max(most) <= 1 << 16
    assert sum(most) == 640 * 1024


def test_beyond_the_edge_is_white_and_an_enlarged_box_keeps_its_place(tmp_path: Path) -> None:
    with opened(marked(tmp_path / "a.tif", (0.5, 0.5)), mpp=None) as slide:
        assert (slide.box((-50, -60), (40, 40), (20, 20)) == 255).all()
        assert (slide.box((SIZE[0] + 5, 0), (64, 64), (16, 16)) == 255).all()
        enlarged = slide.box((601, 690), (30, 30), (120, 120))  # the mark begins at 611, 700
    assert (enlarged[44:, 44:] == 0).all()
    assert (enlarged[:36] == 255).all()
    assert (enlarged[:, :36] == 255).all()


@pytest.mark.parametrize(
    ("size", "of_level", "factor"),
    [(2207, 551, 4), (2207, 552, 4), (1000, 500, 2), (1000, 300, 1000 / 300), (7, 7, 1), (5, 1, 5), (3, 4, 0.75)],
)
def test_a_level_has_a_whole_factor_where_its_size_is_one_rounded(size: int, of_level: int, factor: float) -> None:
    assert downsample(size, of_level) == factor
