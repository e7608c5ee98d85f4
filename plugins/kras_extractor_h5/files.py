"""Read the HDF5 dialects of the field into a Bag.

CLAM: `features` and `coords`, nothing else. TRIDENT: the same, with `patch_size_level0`, `target_magnification` and
others as attributes of `coords`, `encoder` and sometimes a leading axis of length one on `features`. STAMP: `feats`
and `coords` in micrometers, `unit`, `tile_size_um` (2.0: `tile_size`), `tile_size_px` and `extractor` as attributes of
the file; before 2.0 coordinates in pixels of 256/224 µm. Vectors of whole slides (TITAN, PRISM, GigaPath): `features`
with one axis, beside the positions of the tiles they were made from (TRIDENT), or one row without `coords`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from kras_extractor_h5.geometry import geometry
from kras_extractor_h5.locate import locate
from kras_plugins import Bag, SlideError, SlideRef, TileSpec, note
from kras_plugins.bags import MOST_PACKED, read_bag, slabs, write_bag
from kras_plugins.errors import StoreError
from kras_plugins.store import Store, file_sha256, make_key

if TYPE_CHECKING:
    from kras_extractor_h5 import H5Options

_WHOLE = ("slide", "patient")
"""STAMP's names for features that are not of tiles."""
_AGAIN = "make it again, or copy it whole"


def load(slide: SlideRef, options: H5Options) -> Bag:
    """The bag of a slide; SlideError when its file is missing, damaged or lacks what cannot be guessed."""
    file = locate(slide, options.folder)
    with _damage(file), h5py.File(file, "r") as f:
        ours = "transform_hash" in f.attrs
        for name in {"features", "coords"} & f.keys() if ours else ():
            _numbers(f, name, file)
    if not ours:
        return _converted(file, slide, options)
    try:
        bag = read_bag(file, slide.slide_id)
    except StoreError as e:
        raise SlideError(e.message, _AGAIN) from e
    if not bag.features.size:
        raise SlideError(f"{file}: contains no tiles", _AGAIN)
    of_slide = not bag.placed and len(bag.features) == 1
    if not of_slide and not all(number > 0 for number in (bag.tile_spec.px, bag.tile_spec.mpp, *bag.size)):
        raise SlideError(f"{file}: states no size of tiles: {bag.tile_spec}, {bag.size}", _AGAIN)
    if not all(np.isfinite(slab).all() for slab in slabs(bag)):
        raise SlideError(f"{file}: features contain NaN or infinity", _AGAIN)
    if not of_slide:
        _check_places(bag.xy, file)
    return bag


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Turn what HDF5 raises on a damaged file into an error that names it."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as e:
        raise SlideError(f"{file}: not a readable HDF5 file, or damaged: {' '.join(str(e).split())}", _AGAIN) from e


def _converted(file: Path, slide: SlideRef, options: H5Options) -> Bag:
    """The bag of a foreign file, converted once into the store, so that its features are memory-mapped."""
    facts = {"encoder": options.encoder, "mpp": options.mpp, "px": options.px, "slide_mpp": slide.mpp}
    key = make_key("foreign-bag", file=file_sha256(file), overlap=options.overlap, version=2, **facts)

    def build(folder: Path) -> None:
        with _damage(file), h5py.File(file, "r") as f:
            bag = _foreign(f, file, slide, options)
        write_bag(folder / "bag.h5", bag)

    bag = read_bag(Store().make(key, build) / "bag.h5", slide.slide_id)
    if slide.mpp is None and bag.placed:
        note("tile positions of bags are in the unit of their files: the cohort states no `mpp` for the slides")
    return bag


def _foreign(f: h5py.File, file: Path, slide: SlideRef, options: H5Options) -> Bag:
    name = next((n for n in ("features", "feats") if n in f), None)
    if name is not None and _is_vector(f, name, file):
        return _vector(f, name, file, slide, options)
    if name is None or "coords" not in f:
        raise SlideError(
            f"{file}: has {', '.join(f) or 'nothing'}, but no `features` (or `feats`) with `coords`",
            "make it with TRIDENT, CLAM, STAMP or `kras embed`",
        )
    held, places = _numbers(f, name, file), _numbers(f, "coords", file)
    if max(held.nbytes, places.nbytes) > MOST_PACKED * file.stat().st_size:
        raise SlideError(
            f"{file}: states {name} {held.shape} and coords {places.shape}, more than so small a file contains", _AGAIN
        )
    facts = {**f.attrs, **held.attrs, **places.attrs}
    features = np.asarray(held, dtype=np.float32)
    features = features[0] if features.ndim == 3 and len(features) == 1 else features
    coords = np.asarray(places, dtype=np.float64)
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if features.ndim != 2 or coords.ndim != 2 or coords.shape[1] < 2 or len(features) != len(coords):
        raise SlideError(f"{file}: features {features.shape} do not match coords {coords.shape}", "make the file again")
    if not features.size:
        raise SlideError(f"{file}: contains no tiles", "make the file again; was tissue found on the slide?")
    for what, values in ((name, features), ("coords", coords)):
        if not np.isfinite(values).all():
            raise SlideError(f"{file}: {what} contain NaN or infinity", "make the file again in full precision")
    _check_places(coords[:, :2], file)
    stamp = name == "feats" or "stamp_version" in facts
    found = geometry(facts, stamp, coords[:, :2], file, slide, options)
    encoder = _encoder(facts, file, options)
    if np.abs(found.xy).max() >= np.iinfo(np.int32).max:
        raise SlideError(f"{file}: coords reach {np.abs(found.xy).max():.3g}, beyond any slide", "make the file again")
    return Bag(
        slide_id=slide.slide_id,
        features=features,
        xy=np.rint(found.xy).astype(np.int32),
        size=(found.side, found.side),
        tile_spec=found.spec,
        encoder=encoder,
        transform_hash=_hash(f"{encoder}/{features.shape[1]}/{found.spec.px}px@{found.spec.mpp:.4g}"),
    )


def _check_places(xy: Any, file: Path) -> None:
    """Raise SlideError for tiles that cannot lie there; `xy`: [tile 2]."""
    if len(xy) > 1 and np.ptp(xy, axis=0).max() == 0:
        raise SlideError(f"{file}: all {len(xy)} tiles lie at one place", "make the file again")
    if xy.min() < 0:
        raise SlideError(f"{file}: coords are negative, down to {xy.min():g}", "make the file again")


def _is_vector(f: h5py.File, name: str, file: Path) -> bool:
    """Whether a file has one vector of the whole slide."""
    held = _numbers(f, name, file)
    one_row = held.ndim == 2 and len(held) == 1
    return held.ndim == 1 or (one_row and ("coords" not in f or f.attrs.get("feat_type") in _WHOLE))


def _vector(f: h5py.File, name: str, file: Path, slide: SlideRef, options: H5Options) -> Bag:
    """A vector of the whole slide as a bag of one row without a position."""
    held = _numbers(f, name, file)
    if held.nbytes > MOST_PACKED * file.stat().st_size:
        raise SlideError(f"{file}: states {name} {held.shape}, more than so small a file contains", _AGAIN)
    features = np.asarray(held, dtype=np.float32).reshape(1, -1)
    if not features.size or not np.isfinite(features).all():
        raise SlideError(f"{file}: {name} are empty, NaN or infinite", "make the file again in full precision")
    encoder = _encoder({**f.attrs, **held.attrs}, file, options)
    return Bag(
        slide_id=slide.slide_id,
        features=features,
        xy=np.zeros((1, 2), np.int32),
        size=(0.0, 0.0),
        tile_spec=TileSpec(px=0, mpp=0.0),
        encoder=encoder,
        transform_hash=_hash(f"{encoder}/{features.shape[1]}/slide"),
    )


def _encoder(facts: Mapping[str, Any], file: Path, options: H5Options) -> str:
    encoder = options.encoder or str(facts.get("encoder", facts.get("extractor", "")))
    if not encoder:
        raise SlideError(f"{file}: does not say which encoder made it", "give -o extractor.h5.encoder=NAME")
    return encoder


def _hash(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _numbers(f: h5py.File, name: str, file: Path) -> Any:
    """A data set of numbers stored in the file itself; SlideError if it is a group, a link or something else."""
    if not isinstance(f.get(name, getlink=True), h5py.HardLink):
        raise SlideError(f"{file}: `{name}` is a link to another place", "write its numbers into the file itself")
    found = f[name]
    if isinstance(found, h5py.Group):
        inner = ", ".join(found) or "nothing"
        raise SlideError(
            f"{file}: `{name}` is a group (of {inner}), not a data set",
            f"write one encoder's numbers as `{name}` into a file of its own",
        )
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiu":
        kind = getattr(found, "dtype", type(found).__name__)
        raise SlideError(f"{file}: `{name}` contains {kind}, not numbers", "make the file again")
    if found.is_virtual or found.external:
        raise SlideError(f"{file}: `{name}` is stored in other files", "write its numbers into the file itself")
    return found
