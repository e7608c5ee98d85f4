"""With `flips`, the profiler `cells` averages the network's maps of each tile and of its mirror images."""

from __future__ import annotations

import numpy as np
import pytest

import kras_profiler_cells as plugin
from kras_profiler_cells.decode import Decode
from kras_profiler_cells.profiler import Cells

WORDS = ("tumor", "lymphocyte")
TILES = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)


def profiler(infer, flips=True):
    return Cells(Decode(8.0, 400.0, 0.5, 0.5, WORDS), "tiles", infer, flips=flips)


def depth(tiles):
    """How far each pixel of the middle nucleus lies from its center, as HoVer maps have it: along x, along y."""
    h, w = tiles.shape[1:3]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    hv = np.stack([(x - (w - 1) / 2) / w, (y - (h - 1) / 2) / h])
    return np.broadcast_to(hv, (len(tiles), *hv.shape)).astype(np.float32)


def test_a_network_that_turns_with_its_tile_gives_what_it_gave():
    def sees_pixels_alone(given):
        (tiles,) = given.values()
        assert tiles.flags.c_contiguous
        blocks = tiles.reshape(len(tiles), 4, 2, 6, 2, 3).max((2, 4))
        return {"nucleus": tiles[..., 0], "classes": np.moveaxis(blocks[..., :2], 3, 1), "hv": depth(tiles)}

    once, averaged = (profiler(sees_pixels_alone, flips).predict(TILES) for flips in (False, True))
    assert sorted(averaged) == ["classes", "hv", "nucleus"]
    for name, values in once.items():
        assert averaged[name].dtype == values.dtype
        np.testing.assert_allclose(averaged[name], values, atol=1e-6 if name == "hv" else 0)


def test_a_network_that_heeds_the_place_is_averaged_over_the_four_places():
    ramp = np.add.outer(7 * np.arange(8), 11 * np.arange(12)).astype(np.uint8)

    def place(given):
        (tiles,) = given.values()
        return {
            "nucleus": np.broadcast_to(ramp, tiles.shape[:3]),
            "classes": np.zeros((len(tiles), 2, 8, 12), np.uint8),
        }

    expected = np.mean([ramp[::a, ::b] for a in (1, -1) for b in (1, -1)], axis=0)
    found = profiler(place).predict(TILES)["nucleus"]
    np.testing.assert_array_equal(found, np.broadcast_to(np.floor(expected + 0.5), TILES.shape[:3]))


@pytest.mark.parametrize(("flips", "calls"), [(False, 1), (True, 4)])
def test_the_option_decides_how_often_the_network_sees_a_tile(flips, calls):
    seen = []

    def counted(given):
        (tiles,) = given.values()
        seen.append(tiles.shape)
        side = tiles.shape[1]
        maps = {"nucleus": (side, side), "distance": (side, side), "classes": (3, side // 2, side // 2)}
        return {name: np.zeros((len(tiles), *shape), np.uint8) for name, shape in maps.items()}

    plugin.create(plugin.CellsOptions(flips=flips), {"cells": counted}).predict(np.zeros((2, 64, 64, 3), np.uint8))
    assert seen == [(2, 64, 64, 3)] * calls
