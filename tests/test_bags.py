"""Bags on disk: more of them than memory and open files would take."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kras_plugins import Bag, TileSpec
from kras_plugins.bags import let_go, read_bag, slabs, write_bag

MB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")


def made(tiles: int, dim: int, slide_id: str = "s") -> Bag:
    rng = np.random.default_rng(tiles)
    return Bag(
        slide_id=slide_id, features=rng.random((tiles, dim), np.float32),
        xy=rng.integers(0, 9999, (tiles, 2)).astype(np.int32), size=(448.0, 448.0),
        tile_spec=TileSpec(px=224, mpp=0.5), encoder="vit/abc", transform_hash="0123",
    )  # fmt: skip


def stored(folder: Path, tiles: int, dim: int) -> Bag:
    write_bag(folder / "s.h5", made(tiles, dim))
    return read_bag(folder / "s.h5")


def of_files() -> int:
    """Bytes of files that are mapped and count as this process' memory."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("RssFile"))


def bottom(array: Any) -> object:
    while isinstance(array, np.ndarray | memoryview):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


def test_features_and_places_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    bag, wanted = stored(tmp_path, 30, 7), made(30, 7)
    for array, same in ((bag.features, wanted.features), (bag.xy, wanted.xy)):
        np.testing.assert_array_equal(array, same)
        assert isinstance(bottom(array), mmap.mmap)
        assert array.dtype == same.dtype and not array.flags.writeable


@linux
def test_memory_that_was_read_is_given_back_and_read_again(tmp_path: Path) -> None:
    bag = stored(tmp_path, 16384, 1024)  # 64 MB
    before = of_files()
    total = float(bag.features.sum())
    assert of_files() - before > 60 * MB
    let_go(bag.features)
    assert of_files() - before < 4 * MB
    assert float(bag.features.sum()) == total


@linux
def test_slabs_hold_all_tiles_in_order_and_one_at_a_time(tmp_path: Path) -> None:
    bag = stored(tmp_path, 20_000, 1024)
    before, most, at = of_files(), 0, 0
    for slab in slabs(bag):
        np.testing.assert_array_equal(slab, bag.features[at : at + len(slab)])
        most, at = max(most, of_files() - before), at + len(slab)
    assert at == 20_000
    assert most < 24 * MB


def test_what_is_not_a_file_or_was_changed_stays(tmp_path: Path) -> None:
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", plain)
    changed = np.load(tmp_path / "a.npy", mmap_mode="c")
    changed[0, 0] = 99
    for array in (plain, changed):
        before = np.array(array)
        let_go(array)
        np.testing.assert_array_equal(array, before)


@linux
def test_more_slides_than_the_soft_limit_of_open_files_are_read(tmp_path: Path) -> None:
    write_bag(tmp_path / "s.h5", made(3, 2))
    code = (
        "import resource; from pathlib import Path; from kras_plugins.bags import read_bag\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 1000))\n"
        "bags = [read_bag(Path('s.h5')) for _ in range(300)]\n"
        "assert all(bag.features.shape == (3, 2) for bag in bags)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
