"""A slide's tile features on disk: HDF5 that TRIDENT and CLAM read too (`features`, `coords`, attributes)."""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from kras_plugins.data import Bag, TileSpec
from kras_plugins.errors import StoreError
from kras_plugins.files.regular import regular

if TYPE_CHECKING:
    from kras_plugins.data import Float32

MOST_PACKED = 1100
"""Most bytes that one byte of a file may expand to: gzip and its like pack no denser. A file that states more is
damaged."""
_SLAB = 4096


def write_bag(file: Path, bag: Bag) -> None:
    """Write a bag; its features may be memory-mapped and are copied in slabs."""
    with h5py.File(file, "w", libver=("earliest", "v110")) as f:
        # Contiguous and uncompressed, so that a reader can map it.
        out = f.create_dataset("features", shape=bag.features.shape, dtype="<f4")
        for start in range(0, len(bag.features), _SLAB):
            out[start : start + _SLAB] = bag.features[start : start + _SLAB]
        coords = f.create_dataset("coords", data=bag.xy.astype("<i4"))
        coords.attrs["patch_size"] = bag.tile_spec.px
        coords.attrs["patch_size_level0"] = round(bag.size[0])
        coords.attrs["patch_level"] = 0
        coords.attrs["overlap"] = 0
        f.attrs["slide_id"] = bag.slide_id
        f.attrs["tile_width_level0"], f.attrs["tile_height_level0"] = bag.size
        f.attrs["mpp"] = bag.tile_spec.mpp
        f.attrs["encoder"] = bag.encoder
        f.attrs["transform_hash"] = bag.transform_hash


def read_bag(file: Path, slide_id: str | None = None) -> Bag:
    """Read what `write_bag` wrote, features memory-mapped; `slide_id` renames it (one store serves many cohorts).

    Raises StoreError when the file is damaged.
    """
    try:
        with h5py.File(regular(file), "r") as f:
            data, coords = f["features"], f["coords"]
            if not all(isinstance(one, h5py.Dataset) and one.ndim == 2 for one in (data, coords)):
                raise ValueError("`features` and `coords` must be tables of numbers")
            if len(data) != len(coords) or coords.shape[1] != 2:
                raise ValueError(f"features {data.shape} do not match coords {coords.shape}")
            mapped = _mapped(file)
            return Bag(
                slide_id=slide_id or str(f.attrs["slide_id"]),
                features=_table(data, "<f4", "f", mapped),
                xy=_table(coords, "<i4", "iu", mapped),
                size=(float(f.attrs["tile_width_level0"]), float(f.attrs["tile_height_level0"])),
                tile_spec=TileSpec(px=int(coords.attrs["patch_size"]), mpp=float(f.attrs["mpp"])),
                encoder=str(f.attrs["encoder"]),
                transform_hash=str(f.attrs["transform_hash"]),
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as e:
        raise StoreError(f"{file}: not a complete bag: {e}", "remove it and run again") from e


def slabs(bag: Bag) -> Iterator[Float32]:
    """All features of a bag in order, float32[tile feature] of at most 4,096 tiles at once; memory: one slab."""
    for start in range(0, len(bag.features), _SLAB):
        yield bag.features[start : start + _SLAB]
        let_go(bag.features)


def let_go(features: Float32) -> None:
    """Release the memory of a mapped array, which grows with everything read from it; its values stay readable.

    A cohort's bags exceed any memory. An array that is not mapped is left unchanged.
    """
    base: Any = features
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    # In a writable mapping, changes that are stored nowhere else would be lost.
    if sys.platform != "win32" and isinstance(base, mmap.mmap) and not features.flags.writeable:
        base.madvise(mmap.MADV_DONTNEED)


def _mapped(file: Path) -> mmap.mmap:
    """A whole file mapped into memory, read on access."""
    with file.open("rb") as f:
        _make_room(f.fileno())
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)


def _make_room(file: int) -> None:
    """Raise the limit of open files once half of it is used: every mapped file counts as an open one.

    A soft limit of 1,024 is usual, and so is a cohort of as many slides.
    """
    if sys.platform != "win32":
        import resource

        number = os.dup(file)  # the lowest free number, which shows how many are open
        os.close(number)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and number > soft // 2:
            wanted = 2 * soft if hard == resource.RLIM_INFINITY else min(2 * soft, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _table(data: h5py.Dataset, dtype: str, kinds: str, mapped: mmap.mmap) -> Any:
    """A table of a file, mapped if it is stored in the needed type and layout, else read.

    `kinds`: numpy's letters for the types that it may have; others, and whole numbers beyond `dtype`, are a ValueError.
    """
    if data.dtype.kind not in kinds:
        raise ValueError(f"`{data.name.strip('/')}` contains {data.dtype}")
    offset = data.id.get_offset() if data.dtype == dtype else None
    if offset is None or not data.size:
        if data.nbytes > MOST_PACKED * len(mapped):
            raise ValueError(f"it states a table of {data.shape}, more than so small a file holds")
        read = data[:]
        made = read.astype(dtype)
        if dtype == "<i4" and (made != read).any():
            raise ValueError(f"`{data.name.strip('/')}` reaches {np.abs(read).max()}, beyond any slide")
        return made
    return np.frombuffer(mapped, dtype, math.prod(data.shape), offset).reshape(data.shape)
