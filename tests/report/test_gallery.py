"""Tiles side by side: each at its place with its own pixels."""

from __future__ import annotations

import numpy as np

from kras_plugins.report.gallery import _GAP, _LINE, _SIDE, Picture, tile_gallery


def flat(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((224, 224, 3), color, np.uint8)


def test_tiles_stand_in_reading_order_and_the_framed_one_is_seen() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    tiles = [Picture(pixels=flat(c), caption=("a", "b"), framed=i == 1) for i, c in enumerate(colors)]
    image = np.asarray(tile_gallery(tiles, "three tiles", columns=2))
    middle = _SIDE // 2
    top, left = 2 * _GAP + _LINE + middle, _GAP + middle
    below = top + _SIDE + 2 * _LINE + _GAP
    assert tuple(image[top, left]) == colors[0]
    assert tuple(image[top, left + _SIDE + _GAP]) == colors[1]
    assert tuple(image[below, left]) == colors[2]
    edge = image[top, left + _SIDE + _GAP - middle - 2]
    assert tuple(edge) == (200, 80, 20)
    assert tuple(image[top, left - middle - 2]) == (255, 255, 255)


def test_a_tile_without_a_slide_says_so_and_a_long_name_fits() -> None:
    name = "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf-40ea-8213-45c2b100ac01"
    image = tile_gallery([Picture(pixels=None, caption=(name,)), Picture(pixels=flat((1, 2, 3)), caption=("x",))], "t")
    pixels = np.asarray(image)
    assert tuple(pixels[2 * _GAP + _LINE + 5, _GAP + 5]) == (236, 238, 240)
    caption = pixels[2 * _GAP + _LINE + _SIDE + 2 : -_GAP, _GAP + _SIDE : _GAP + _SIDE + _GAP - 2]
    assert (caption == 255).all(), "a caption must not run into the next tile"
