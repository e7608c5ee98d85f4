"""A slide's tile features on disk: HDF5 that TRIDENT and CLAM read too (`features`, `coords`, attributes)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from kras_plugins.data import Bag, TileSpec
from kras_plugins.errors import StoreError
from kras_plugins.files.regular import regular

_SLAB = 4096


def write_bag(file: Path, bag: Bag) -> None:
    """Write a bag; its features may be memory-mapped, they are copied in slabs."""
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
            shape, offset = data.shape, data.id.get_offset() if data.dtype == "<f4" else None
            return Bag(
                slide_id=slide_id or str(f.attrs["slide_id"]),
                features=(
                    np.memmap(file, "<f4", mode="r", offset=offset, shape=shape)
                    if offset is not None and data.size
                    else data[:].astype(np.float32)
                ),
                xy=coords[:].astype(np.int32),
                size=(float(f.attrs["tile_width_level0"]), float(f.attrs["tile_height_level0"])),
                tile_spec=TileSpec(px=int(coords.attrs["patch_size"]), mpp=float(f.attrs["mpp"])),
                encoder=str(f.attrs["encoder"]),
                transform_hash=str(f.attrs["transform_hash"]),
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as e:
        raise StoreError(f"{file}: not a whole bag: {e}", "remove it and run again") from e
