"""The focus of tiles that reach beyond a field of view."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from kras_plugins.data import TileGrid, TileSpec
from kras_plugins.processing.focus import inside, out_of_focus
from kras_plugins.processing.placement import Placements
from kras_plugins.slides.stream import TileBatch

SPEC = TileSpec(px=256, mpp=0.5, halo_px=32)


def places(frame: tuple[float, float] | None) -> Placements:
    size = (512.0, 512.0)  # level 0 has 0.25 µm
    corners = np.array([[0, 0], [512, 0]], np.int32)
    grid = TileGrid(spec=SPEC, xy=corners, size=size, tissue=np.ones(2, np.float32))
    return Placements(grid, (0.25, 0.25), frame)


def tile(frame_px: int, blur_px: float) -> np.ndarray:
    """A field of `frame_px` tile pixels in the middle of white, as read with its halo."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (frame_px, frame_px)), (1.5 + blur_px, 1.5 + blur_px))
    texture = 150 + 40 * texture / texture.std()
    out = np.full((320, 320, 3), 255, np.uint8)
    out[32 : 32 + frame_px, 32 : 32 + frame_px] = np.clip(texture, 0, 255)[..., None]
    return out


@pytest.mark.parametrize(("blur_px", "expected"), [(0.0, False), (6.0, True)])
def test_a_small_field_is_judged_without_the_white_beyond_its_edge(blur_px: float, expected: bool) -> None:
    batch = TileBatch(0, tile(128, blur_px)[None])
    assert out_of_focus(batch, places((256, 256)), 0.5).tolist() == [expected]
    assert out_of_focus(batch, places(None), 0.5).tolist() == [False]  # where the edge is the sharpest of the tile


def test_what_lies_in_the_field_is_cut_to_whole_pixels() -> None:
    own = places((601.0, 256.0))
    numbers = np.arange(320 * 320 * 3).reshape(320, 320, 3) % 251
    pixels = numbers.astype(np.uint8)
    np.testing.assert_array_equal(inside(pixels, own[0]), pixels[32:160, 32:])
    np.testing.assert_array_equal(inside(pixels, own[1]), pixels[32:160, : 32 + 44])  # 89 level-0 pixels are left
