"""Read the HDF5 dialects of the field into a Bag.

CLAM: `features` and `coords`, nothing else. TRIDENT: the same, with `patch_size_level0`, `target_magnification` and
others as attributes of `coords`, `encoder` and sometimes a leading axis of length one on `features`. STAMP: `feats`
and `coords` in micrometres, `unit`, `tile_size_um`, `tile_size_px` and `extractor` as attributes of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from kras_plugins import Bag, SlideError, SlideRef, TileSpec
from kras_plugins.bags import read_bag, write_bag
from kras_plugins.files.regular import regular
from kras_plugins.store import Store, file_sha256, make_key

if TYPE_CHECKING:
    from kras_extractor_h5 import H5Options


def load(slide: SlideRef, options: H5Options) -> Bag:
    """The bag of a slide; SlideError when its file is missing, unreadable or lacks what cannot be guessed."""
    file = _locate(slide, options)
    try:
        with h5py.File(file, "r") as f:
            if "transform_hash" in f.attrs:
                return read_bag(file, slide.slide_id)
        return _converted(file, slide, options)
    except OSError as e:
        raise SlideError(f"{file}: not a readable HDF5 file: {e}", "make it again, or copy it whole") from e


def _converted(file: Path, slide: SlideRef, options: H5Options) -> Bag:
    """The bag of a foreign file, converted once into the store, so that its features are mapped and not held."""
    facts = {"encoder": options.encoder, "mpp": options.mpp, "px": options.px, "slide_mpp": slide.mpp}
    key = make_key("foreign-bag", file=file_sha256(file), **facts)

    def build(folder: Path) -> None:
        with h5py.File(file, "r") as f:
            bag = _foreign(f, file, slide, options)
        write_bag(folder / "bag.h5", bag)

    return read_bag(Store().make(key, build) / "bag.h5", slide.slide_id)


def _locate(slide: SlideRef, options: H5Options) -> Path:
    if options.folder is not None:
        file = options.folder / f"{slide.slide_id}.h5"
    elif slide.path is not None and slide.path.suffix == ".h5":
        file = slide.path
    else:
        raise SlideError(
            f"slide {slide.slide_id}: no feature file named",
            "give -o extractor.h5.folder=DIR, or .h5 files in the cohort's `path` column",
        )
    if not file.exists():
        raise SlideError(f"{file}: no such feature file", "check slide_id against the file names")
    return regular(file, error=SlideError)


def _foreign(f: h5py.File, file: Path, slide: SlideRef, options: H5Options) -> Bag:
    name = next((n for n in ("features", "feats") if n in f), None)
    if name is None or "coords" not in f:
        raise SlideError(
            f"{file}: has {', '.join(f) or 'nothing'}, but no `features` (or `feats`) with `coords`",
            "make it with TRIDENT, CLAM, STAMP or `kras embed`",
        )
    facts = {**f.attrs, **f[name].attrs, **f["coords"].attrs}
    features = np.asarray(f[name], dtype=np.float32)
    features = features[0] if features.ndim == 3 and len(features) == 1 else features
    coords = np.asarray(f["coords"], dtype=np.float64).reshape(-1, 2) if f["coords"].ndim < 3 else f["coords"][0]
    if features.ndim != 2 or len(features) != len(coords):
        raise SlideError(f"{file}: features {features.shape} do not match coords {coords.shape}", "make the file again")
    if not np.isfinite(features).all():
        raise SlideError(f"{file}: features hold NaN or infinity", "make the file again in full precision")
    spec, side = _geometry(facts, coords, file, slide, options)
    encoder = options.encoder or str(facts.get("encoder", facts.get("extractor", "")))
    if not encoder:
        raise SlideError(f"{file}: does not say which encoder made it", "give -o extractor.h5.encoder=NAME")
    scale = side / spec.um if str(facts.get("unit", "")) == "um" else 1.0
    identity = f"{encoder}/{features.shape[1]}/{spec.px}px@{spec.mpp:.4g}"
    return Bag(
        slide_id=slide.slide_id,
        features=features,
        xy=np.rint(coords * scale).astype(np.int32),
        size=(side, side),
        tile_spec=spec,
        encoder=encoder,
        transform_hash=hashlib.sha256(identity.encode()).hexdigest()[:16],
    )


def _geometry(
    facts: Mapping[str, Any], coords: npt.NDArray[Any], file: Path, slide: SlideRef, options: H5Options
) -> tuple[TileSpec, float]:
    """Tile size and resolution, and the tile's side in level-0 pixels."""
    px = options.px or facts.get("tile_size_px", facts.get("patch_size"))
    mpp = options.mpp or facts.get("target_mpp", facts.get("mpp"))
    if mpp is None and "tile_size_um" in facts and px:
        mpp = float(facts["tile_size_um"]) / float(px)
    if mpp is None and "target_magnification" in facts:
        mpp = 10 / float(facts["target_magnification"])
    if px is None or mpp is None:
        raise SlideError(
            f"{file}: does not state its {'tile size' if px is None else 'resolution'}",
            "give -o extractor.h5.px=224 and -o extractor.h5.mpp=0.5",
        )
    spec = TileSpec(px=int(px), mpp=float(mpp))
    if "patch_size_level0" in facts:
        return spec, float(facts["patch_size_level0"])
    if slide.mpp is not None:
        return spec, spec.um / slide.mpp
    steps = np.diff(np.unique(coords[:, 0]))
    # Without any statement the most frequent step between columns is the tile's side: bags are cut without gaps.
    side = float(np.median(steps)) if len(steps) else float(spec.px)
    return spec, side
