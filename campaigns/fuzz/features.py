"""Bags of tile features in HDF5: one as TRIDENT writes it, one of our own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

TILES, DIM = 24, 8
FILES = ("trident", "own")


def _numbers() -> tuple[Any, Any]:
    import numpy as np

    features = np.random.default_rng(0).standard_normal((TILES, DIM)).astype(np.float32)
    return features, np.array([[x * 512, y * 512] for y in range(4) for x in range(6)], np.int64)


def _make(folder: Path) -> None:
    import h5py

    from kras_plugins.bags import write_bag
    from kras_plugins.data import Bag, TileSpec

    features, coords = _numbers()
    with h5py.File(folder / "trident.h5", "w") as f:
        f.create_dataset("features", data=features).attrs["encoder"] = "uni_v1"
        facts = {"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20, "level0_magnification": 40}
        f.create_dataset("coords", data=coords).attrs.update({**facts, "overlap": 0})
    own = Bag(
        slide_id="own", features=features, xy=coords.astype("int32"), size=(512.0, 512.0),
        tile_spec=TileSpec(px=256, mpp=0.5), encoder="uni_v1", transform_hash="t",
    )  # fmt: skip
    write_bag(folder / "own.h5", own)


def _read(folder: Path) -> Any:
    import numpy as np

    import kras_extractor_h5
    from kras_plugins.data import SlideRef

    (plugin,) = kras_extractor_h5.kras_extractors()
    found = {}
    for name in FILES:
        assert plugin.load is not None
        bag = plugin.load(
            SlideRef(patient_id="p", slide_id=name, mpp=0.25), plugin.options.model_validate({"folder": str(folder)})
        )
        features = np.asarray(bag.features, np.float64)
        found[name] = {
            "features": [features.sum(1).tolist(), features.sum(0).tolist()],
            "xy": bag.xy.tolist(),
            "tile": [bag.tile_spec.px, bag.tile_spec.mpp, *bag.size],
            "encoder": bag.encoder,
        }
    return found


def _change(folder: Path, rng: random.Random, sound: Any) -> Change:
    import h5py
    import numpy as np

    name = rng.choice(FILES)
    file = folder / f"{name}.h5"
    features, coords = _numbers()
    i, j = rng.sample(range(TILES), 2)

    def told(rows: Any, xy: Any, **more: Any) -> Any:
        rows = np.asarray(rows, np.float64)
        sums = [rows.sum(1).tolist(), rows.sum(0).tolist()]
        return {**sound, name: {**sound[name], "features": sums, "xy": np.asarray(xy).tolist(), **more}}

    def write(data: Any = None, places: Any = None, **how: Any) -> None:
        """Lay other numbers into the file, whose attributes stay."""
        with h5py.File(file, "r+") as f:
            for key, value in (("features", data), ("coords", places)):
                if value is not None or how:
                    value = f[key][()] if value is None else value
                    facts = dict(f[key].attrs)
                    del f[key]
                    f.create_dataset(key, data=value, **how).attrs.update(facts)

    def permuted() -> Change:
        order = rng.sample(range(TILES), TILES)
        write(features[order], coords[order])
        return Change("tiles in another order", told(features[order], coords[order]))

    def exchanged() -> Change:
        places = coords.copy()
        places[[i, j]] = places[[j, i]]
        write(None, places)
        return Change(f"places of tiles {i} and {j} exchanged", told(features, places))

    def number() -> Change:
        rows = features.copy()
        rows[i, 2] = rng.choice([0.0, 7.5, np.nan, np.inf, -np.inf])
        write(rows)
        return Change(
            f"feature 2 of tile {i} is {rows[i, 2]}", told(rows, coords) if np.isfinite(rows[i, 2]) else Must.REFUSED
        )

    def fewer() -> Change:
        write(features[:-1])
        return Change("a row of features less than places", Must.REFUSED)

    def both_fewer() -> Change:
        write(features[:i], coords[:i])
        return Change(
            f"the first {i} tiles alone", told(features[:i], coords[:i]) if i > 1 else Must.SAME if i else Must.REFUSED
        )

    def place() -> Change:
        places = coords.copy().astype(np.float64)
        places[i, 0] = rng.choice([-512.0, np.nan, 1e12, 4e9])
        write(None, places)
        return Change(f"tile {i} lies at {places[i, 0]}", Must.REFUSED)

    def one_place() -> Change:
        write(None, np.zeros_like(coords))
        return Change("all tiles at one place", Must.REFUSED)

    def half() -> Change:
        rows = features.astype(rng.choice([np.float16, np.float64]))
        write(rows)
        return Change(
            f"features as {rows.dtype}",
            told(rows, coords) if name == "trident" else Must.SAME if rows.dtype != np.float16 else told(rows, coords),
        )

    def other_type() -> Change:
        what = rng.choice(["texts", "complex", "bool"])
        rows: Any = {
            "texts": np.full((TILES, DIM), b"x"),
            "complex": features.astype(np.complex64),
            "bool": features > 0,
        }[what]
        write(rows)
        return Change(f"features are {what}", Must.REFUSED)

    def shape() -> Change:
        rows = rng.choice(
            [features[None], features.ravel(), features[:, :0], features[:0], features.reshape(TILES, 2, 4)]
        )
        write(rows)
        must = Must.SAME if rows.shape == (1, TILES, DIM) else Must.REFUSED
        return Change(f"features of shape {rows.shape}", Must.ANYTHING if rows.ndim == 1 else must)

    def stored() -> Change:
        how: Any = rng.choice([{"compression": "gzip"}, {"chunks": True}, {"shuffle": True}, {"fletcher32": True}])
        write(**how)
        return Change(f"stored with {how}", Must.SAME)

    def dropped() -> Change:
        with h5py.File(file, "r+") as f:
            key = rng.choice(["features", "coords"])
            del f[key]
        return Change(f"no {key}", Must.REFUSED)

    def more() -> Change:
        with h5py.File(file, "r+") as f:
            f["note"] = np.arange(3)
            f.attrs["note"] = "mine"
        return Change("a data set and an attribute more", Must.SAME)

    def fact() -> Change:
        with h5py.File(file, "r+") as f:
            held = [(where, key) for where in (f, f["features"], f["coords"]) for key in where.attrs]
            where, key = rng.choice(held)
            value = rng.choice([None, -1, 0, "x", float("nan"), [1, 2], 3.7, 10**9])
            if value is None:
                del where.attrs[key]
            else:
                where.attrs[key] = value
        # Sizes are stated in several ways and checked against the stride: what remains is a name, or is not used.
        free = key in ("encoder", "transform_hash", "slide_id", "level0_magnification", "patch_level")
        return Change(f"{key} is {value!r}", Must.ANYTHING if free or key in _SIZES else Must.SAME)

    def linked() -> Change:
        with h5py.File(file, "r+") as f:
            del f["features"]
            f["features"] = rng.choice(
                [h5py.ExternalLink("/etc/hostname", "/x"), h5py.SoftLink("/coords"), h5py.SoftLink("/features")]
            )
        return Change("features are a link", Must.REFUSED)

    def group() -> Change:
        with h5py.File(file, "r+") as f:
            del f["features"]
            f.create_group("features")["uni"] = features
        return Change("features are a group", Must.REFUSED)

    def vast() -> Change:
        with h5py.File(file, "r+") as f:
            del f["features"], f["coords"]
            f.create_dataset("features", (10**7, 1024), "f4", chunks=(1000, 1024))
            f.create_dataset("coords", (10**7, 2), "i8", chunks=(1000, 2)).attrs["patch_size"] = 256
        return Change("states 40 GB that are not there", Must.REFUSED)

    ways = [permuted, exchanged, number, fewer, both_fewer, place, one_place, half, other_type, shape, stored, dropped]
    ways += [more, fact, fact, linked, group, vast]
    return pick(rng, [*((2, way) for way in ways), (4, lambda: cut(file, rng)), (10, lambda: damage(file, rng))])


_SIZES = (
    "patch_size",
    "patch_size_level0",
    "target_magnification",
    "overlap",
    "tile_width_level0",
    "tile_height_level0",
    "mpp",
)
KINDS = [
    Kind(
        name="bag", make=_make, change=_change, read=_read, named=("trident.h5", "own.h5"),
        warm=("kras_extractor_h5.files", "kras_plugins.bags"),
    )
]  # fmt: skip
