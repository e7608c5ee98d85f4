"""Checks of extractors and profilers that read results made elsewhere (`load`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from kras_plugins.data import (
    CELL_CLASSES,
    CELL_COLUMNS,
    TISSUE_CLASSES,
    Bag,
    SemanticMap,
    SemanticProfile,
    SlideRef,
    TileSpec,
)
from kras_plugins.errors import KrasError
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import NotApplicable
from kras_plugins.testing.checks.rule import check, refused, require, shown

LOADED = ("loading extractor", "loading profiler")


def _load(candidate: Candidate, ref: SlideRef) -> Any:
    return candidate.record.load(ref, candidate.options)


def samples(candidate: Candidate) -> Iterator[tuple[SlideRef, Any]]:
    """Each sample with what was loaded for it, loaded once. Raises NotApplicable without samples."""
    if not candidate.samples:
        raise NotApplicable(f"no sample given: --sample FILE, or samples={{{candidate.id!r}: [path or SlideRef]}}")
    for i, given in enumerate(candidate.samples):
        ref = given if isinstance(given, SlideRef) else _ref(Path(given))
        yield ref, candidate.need(f"loaded {i}", partial(_load, candidate, ref), "loaded_valid")


def _ref(path: Path) -> SlideRef:
    return SlideRef(patient_id=path.stem, slide_id=path.stem, path=path)


@check(*LOADED, file="contracts/extractor.py", words="it raises SlideError where the slide has none")
def absent_told(candidate: Candidate) -> None:
    """A slide with nothing to load raises an error with a message: it is set aside and the run continues."""
    ref = SlideRef(patient_id="nobody", slide_id="no-such-slide", path=candidate.folder / "no-such-slide.xyz")
    with refused("a slide of which nothing was made", KrasError, came=lambda: "something loaded"):
        _load(candidate, ref)


@check(*LOADED, file="data.py", words="The values that flow between the parts")
def loaded_valid(candidate: Candidate) -> None:
    """What is loaded is a complete Bag, SemanticMap or SemanticProfile of that slide."""
    for i, given in enumerate(candidate.samples):
        ref = given if isinstance(given, SlideRef) else _ref(Path(given))
        candidate.once(f"loaded {i}", partial(_load, candidate, ref))
    for ref, loaded in samples(candidate):
        if candidate.kind == "extractor":
            require(isinstance(loaded, Bag), "a Bag", type(loaded).__name__)
            _check_bag(loaded, ref)
        elif isinstance(loaded, SemanticMap):
            _check_map(loaded, ref)
        else:
            require(isinstance(loaded, SemanticProfile), "a SemanticMap or SemanticProfile", type(loaded).__name__)
            values = np.asarray(loaded.values)
            whole = values.dtype == np.float64 and values.shape == (len(loaded.names),)
            require(whole, f"float64[{len(loaded.names)}] values, one a name", shown(values))
            require(len(set(loaded.names)) == len(loaded.names), "each feature once", loaded.names)
            require(not np.isinf(values).any(), "finite values, or NaN for what is unknown", "infinite ones")


@check(*LOADED, file="contracts/extractor.py", words="never opens pixels")
def pixels_not_opened(candidate: Candidate) -> None:
    """Results made elsewhere are loaded without the slide, which may lie on another machine."""
    for ref, loaded in samples(candidate):
        if ref.path is not None:
            raise NotApplicable("the sample's path names what is loaded; give a SlideRef without one")
        elsewhere = replace(ref, path=candidate.folder / "elsewhere.svs")
        again = _load(candidate, elsewhere)
        require(type(again) is type(loaded), f"a {type(loaded).__name__} all the same", type(again).__name__)


@check(*LOADED, file="store.py", words="every costly result is a folder named by the sha256 of what it was made from")
def loaded_again(candidate: Candidate) -> None:
    """Loading twice gives the same result."""
    for ref, loaded in samples(candidate):
        again = _load(candidate, ref)
        for name in ("features", "xy", "values", "tissue", "analysed"):
            if hasattr(loaded, name):
                alike = np.array_equal(getattr(again, name), getattr(loaded, name), equal_nan=name == "values")
                require(alike, f"the same {name}", "others")
        if hasattr(loaded, "cells"):
            require(again.cells.equals(loaded.cells), "the same cells", "others")


def _check_bag(bag: Bag, ref: SlideRef) -> None:
    require(bag.slide_id == ref.slide_id, f"slide_id {ref.slide_id!r}", repr(bag.slide_id))
    features, xy = np.asarray(bag.features), np.asarray(bag.xy)
    require(features.dtype == np.float32 and features.ndim == 2, "float32[tile feature]", shown(bag.features))
    require(bool(np.isfinite(features).all()), "finite features", "NaN or infinite ones")
    placed = xy.dtype == np.int32 and xy.shape == (len(features), 2)
    require(placed, f"xy int32[{len(features)} 2]", shown(bag.xy))
    of_slide = not bag.placed and len(features) == 1 and not xy.any()
    sized = isinstance(bag.tile_spec, TileSpec) and (of_slide or min(bag.size) > 0)
    require(sized, "a tile size, or none for one vector of the slide", f"{bag.tile_spec}, {bag.size}")
    require(bool(bag.encoder and bag.transform_hash), "encoder and transform_hash that are not empty", "an empty one")


def _check_map(found: SemanticMap, ref: SlideRef) -> None:
    require(found.slide_id == ref.slide_id, f"slide_id {ref.slide_id!r}", repr(found.slide_id))
    missing = [name for name in CELL_COLUMNS if name not in found.cells.column_names]
    require(not missing, "all CELL_COLUMNS", f"none of {', '.join(missing)}")
    strange = sorted(set(pc.unique(found.cells["class"]).to_pylist()) - set(CELL_CLASSES))
    require(not strange, "classes of CELL_CLASSES", ", ".join(map(str, strange)))
    tissue = np.asarray(found.tissue)
    indexed = tissue.dtype == np.uint8 and tissue.ndim == 2 and int(tissue.max(initial=0)) < len(TISSUE_CLASSES)
    require(indexed, "tissue uint8[h w] of indices into TISSUE_CLASSES", shown(tissue))
    require(np.shape(found.analysed) == tissue.shape, f"analysed bool{list(tissue.shape)}", shown(found.analysed))
    unknown = sorted(found.provides - {*CELL_CLASSES, *TISSUE_CLASSES, *CELL_COLUMNS, "growth_patterns"})
    require(not unknown, "provides of known words", ", ".join(unknown))
