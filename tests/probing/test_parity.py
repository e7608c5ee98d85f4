"""How near a backend's output is to the wanted one."""

from __future__ import annotations

import numpy as np
import pytest

from kras_plugins.probing.parity import cosines


def test_the_cosine_of_each_tile_is_that_of_its_whole_output() -> None:
    got = np.array([[[1.0, 0.0]], [[1.0, 1.0]], [[3.0, 4.0]]], np.float32)
    wanted = np.array([[[0.0, 1.0]], [[1.0, 0.0]], [[6.0, 8.0]]], np.float32)
    assert cosines(got, wanted) == pytest.approx([0, np.sqrt(0.5), 1])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_two_empty_maps_are_alike_and_one_empty_map_is_not(dtype: str) -> None:
    empty, full = np.zeros((2, 3, 3), dtype), np.full((2, 3, 3), 9, dtype)
    assert cosines(empty, empty).tolist() == [1, 1]
    assert cosines(full, empty).tolist() == cosines(empty, full).tolist() == [0, 0]


def test_bytes_that_rounding_parts_are_alike_however_small() -> None:
    one = np.zeros((1, 4), np.uint8)
    one[0, 2] = 1
    assert cosines(one, np.zeros((1, 4), np.uint8)).tolist() == [1]
    assert cosines(one.astype(np.float32), np.zeros((1, 4), np.float32)).tolist() == [0]
