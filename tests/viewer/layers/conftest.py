"""What the tests of layers share: slides' geometry without slides."""

from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.viewer.geometry import Box, Pyramid

MPPS = ((0.25, 0.25), (0.2525, 0.2525), (0.5, 0.5), (0.25, 0.3))


@pytest.fixture(params=MPPS, ids=["0.25", "0.2525", "0.5", "anisotropic"])
def pyramid(request: pytest.FixtureRequest) -> Pyramid:
    """A slide of about 350 µm by 250 µm as the viewer shows it."""
    x, y = request.param
    return Pyramid((round(350 / x), round(250 / y)), (x, y))


@pytest.fixture
def seamless():
    """Asserts that the tiles of a level, put together, are the same picture as the whole level drawn at once."""

    def check(layer, pyramid, level, keys=None):
        width, height = pyramid.level_size(level)
        across, down = pyramid.tiles(level)
        assembled = np.zeros((height, width, 4), np.uint8)
        for row in range(down):
            for column in range(across):
                box, (w, h) = pyramid.box(level, column, row)
                tile = layer.draw(box, (w, h), keys)
                assert tile.shape == (h, w, 4)
                assert tile.dtype == np.uint8
                assembled[row * 512 : row * 512 + h, column * 512 : column * 512 + w] = tile
        down_by = 1 << (pyramid.top - level)
        whole = Box(0, 0, width * down_by / pyramid.scale[0], height * down_by / pyramid.scale[1])
        at_once = layer.draw(whole, (width, height), keys)
        np.testing.assert_array_equal(assembled, at_once)
        return at_once

    return check


@pytest.fixture
def centers():
    """Level-0 coordinates of the pixels' centers of a whole level: x[column], y[row]."""

    def of(pyramid, level):
        width, height = pyramid.level_size(level)
        side = 1 << (pyramid.top - level)
        return (np.arange(width) + 0.5) * side / pyramid.scale[0], (np.arange(height) + 0.5) * side / pyramid.scale[1]

    return of
