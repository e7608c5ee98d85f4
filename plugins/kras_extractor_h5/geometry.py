"""Size and positions of the tiles of a foreign bag: stated in many ways, and checked by their stride."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins import SlideError, SlideRef, TileSpec

if TYPE_CHECKING:
    from kras_extractor_h5 import H5Options
    from kras_plugins.data import Float64

STAMP_PX, STAMP_UM = 224, 256.0
"""STAMP's tiles before it stated their size in pixels; before 2.0 coordinates were in such pixels."""
_TOLERANCE = 0.03
_NOMINAL = 1.25
"""A magnification is nominal: 40x scanners have 0.22 to 0.28 µm per pixel."""
_MIN_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """`spec`: the tiles as the encoder saw them; `side`: that of a tile, and `xy`: float64[tile 2], in level-0 pixels.

    Without the slide's resolution, level-0 pixels are the unit of the file's coordinates.
    """

    spec: TileSpec
    side: float
    xy: Float64


def geometry(
    facts: Mapping[str, Any], stamp: bool, coords: Float64, file: Path, slide: SlideRef, options: H5Options
) -> Geometry:
    """Tile size, resolution and positions from the options, else from a file's attributes (`facts`).

    `stamp`: whether STAMP wrote it; `coords`: float64[tile 2] as in the file. Raises SlideError if size or resolution
    are not stated, a stated number is invalid, or tiles of that size would not lie side by side.
    """
    um = str(facts.get("unit", "")) == "um"
    step, often = stride(coords)
    historic = stamp and not um and "tile_size_um" not in facts
    if historic:
        historic = round(_number(facts, "tile_size", file) or step or 0) == STAMP_PX
    px, mpp = _stated(facts, stamp, um, historic, file, options)
    if px is None or mpp is None:
        raise SlideError(
            f"{file}: does not state its {'tile size' if px is None else 'resolution'}",
            f"give -o extractor.h5.px and -o extractor.h5.mpp as its maker cut the tiles{_guess(step, slide)}",
        )
    spec = TileSpec(px=int(px), mpp=float(mpp))
    level0 = _number(facts, "patch_size_level0", file)
    unit = spec.um if um or (stamp and "tile_size_um" in facts) else float(spec.px) if historic else None
    if level0 is not None:
        side = level0
        if slide.mpp is not None and not 1 / _NOMINAL < level0 * slide.mpp / spec.um < _NOMINAL:
            raise SlideError(
                f"{file}: its tiles of {spec.px} px are {level0:g} px of level 0 wide, {level0 * slide.mpp:.4g} µm by "
                f"the cohort's mpp {slide.mpp:g}, but {spec.um:.4g} µm by {spec.mpp:g} µm per pixel",
                "correct the cohort's mpp, or -o extractor.h5.mpp",
            )
    elif slide.mpp is not None:
        side = spec.um / slide.mpp
    else:
        side = unit or step or float(spec.px)
    overlap = options.overlap if options.overlap is not None else (_number(facts, "overlap", file) or 0)
    expected = (unit or side) * (1 - overlap / spec.px)
    if step is not None and often >= _MIN_STEPS and abs(step - expected) > max(2, _TOLERANCE * expected):
        what = "µm" if um else "px"
        raise SlideError(
            f"{file}: its tiles are {step:,.4g} {what} apart but would be {unit or side:,.4g} {what} wide "
            f"({spec.px} px of {spec.mpp:g} µm" + (f", {overlap:g} px shared)" if overlap else ")"),
            "correct the cohort's mpp, or -o extractor.h5.px and extractor.h5.mpp; if tiles overlap, give "
            "-o extractor.h5.overlap=PIXELS",
        )
    return Geometry(spec=spec, side=side, xy=coords * (side / unit if unit else 1.0))


def _stated(
    facts: Mapping[str, Any], stamp: bool, um: bool, historic: bool, file: Path, options: H5Options
) -> tuple[float | None, float | None]:
    """Side in pixels and µm per pixel as the user or a file states them, None if neither does."""
    px = options.px or _number(facts, "tile_size_px", file) or _number(facts, "patch_size", file)
    mpp = options.mpp or _number(facts, "target_mpp", file) or _number(facts, "mpp", file)
    side_um = _number(facts, "tile_size_um", file) or (_number(facts, "tile_size", file) if um else None)
    if historic:
        px, side_um = px or STAMP_PX, STAMP_UM
    if px is None and stamp and side_um is not None:
        px = STAMP_PX
    if mpp is None and side_um is not None and px is not None:
        mpp = side_um / px
    magnification = _number(facts, "target_magnification", file)
    if mpp is None and magnification is not None:
        mpp = 10 / magnification
    return px, mpp


def stride(coords: Float64) -> tuple[float | None, int]:
    """The commonest distance between neighbors of one row, in the unit of `coords`, None without any; and its count.

    If no distance is that of most neighbors (tiles drawn at random), it means little: the count is then 0.
    """
    ordered = coords[np.lexsort((coords[:, 0], coords[:, 1]))]
    steps = np.diff(ordered[:, 0])[np.diff(ordered[:, 1]) == 0]
    steps = steps[steps > 0]
    if not len(steps):
        return None, 0
    # Rounded coordinates alternate by one, so that steps within a hundredth count as one.
    bins = np.round(np.log(steps) / np.log1p(_TOLERANCE / 3)).astype(np.int64)
    found, counts = np.unique(bins, return_counts=True)
    often = int(counts.max())
    return float(np.median(steps[bins == found[np.argmax(counts)]])), often if 2 * often >= len(steps) else 0


def _number(facts: Mapping[str, Any], name: str, file: Path) -> float | None:
    """A stated number, None if not stated; SlideError unless it is positive."""
    value = facts.get(name)
    if value is None:
        return None
    try:
        number = float(np.asarray(value).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        number = float("nan")
    if not (np.isfinite(number) and (number > 0 or (name == "overlap" and number == 0))):
        raise SlideError(f"{file}: states {name}={value!s:.40}", "make the file again")
    return number


def _guess(step: float | None, slide: SlideRef) -> str:
    """What the stride suggests about the size of a tile, if the slide's resolution is known."""
    if step is None or slide.mpp is None:
        return ", e.g. px=224 and mpp=0.5"
    um = step * slide.mpp
    return f": {step:,.4g} px apart, they are {um:,.4g} µm wide, so px=224 would go with mpp={um / 224:.4g}"
