"""Coordinates that cannot be what they are taken for: micrometers, a tile's own pixels, another slide or scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from kras_plugins import SlideError

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_profiler_import.chunk import LeftOut

MIN_CELLS = 50
SMALL_UM, SUSPECT_UM, LARGE_UM = 4.0, 5.0, 22.6
"""Median diameter of nuclei: none is under 4 or over 22.6 µm (400 µm²); under 5 counts where micrometers fit too."""
USUAL_UM2 = (20.0, 130.0)
"""Median area of nuclei beyond which it is noted: lymphocytes have some 40 µm², tumor cells 50 to 120."""
GIANT_UM2 = 2000.0
"""A single nucleus beyond this, 50 µm across, is not a nucleus, or several."""
STATED = 1.2
"""Resolutions that differ by more are not one value rounded in two ways: 0.25 is often stated for 0.22 to 0.28."""
MAGNIFICATIONS = (80.0, 40.0, 20.0, 10.0, 5.0)
DAMAGED = 0.02
"""If no more than this share of the objects cannot be read, densities change less than between scanners."""
DENSE_UM, SUSPECT_SPACING_UM = 2.5, 4.5
"""Median distance of a cell to its nearest neighbor; even lymphocytes packed side by side are 5 µm apart."""
OUTSIDE = 0.01
CORNER = 8  # coordinates within an eighth of the slide along both axes, at its corner, are those of a tile
TILE_PX = 8192
_SAMPLE = 20_000


def check_left_out(file: str, out: LeftOut, used: int) -> list[str]:
    """Notes on objects that were left out besides `used` ones; SlideError if there are too many."""
    total = used + out.nowhere + out.damaged
    if out.damaged > DAMAGED * total:
        raise SlideError(
            f"{file}: damaged: {out.damaged:,} of {total:,} objects cannot be read; the first: {out.first}",
            "copy or export it again",
        )
    if 2 * out.nowhere > total:
        raise SlideError(
            f"{file}: {out.nowhere:,} of {total:,} objects have neither a position nor an outline with an area",
            "export centroids or polygons for every cell",
        )
    told = []
    if out.nowhere:
        told.append(f"{out.nowhere:,} of {total:,} objects have neither a position nor an area; left out")
    if out.damaged:
        told.append(f"{out.damaged:,} of {total:,} objects cannot be read; left out; the first: {out.first}")
    return told


def level0_per_pixel(file: str, magnification: float, mpp: float) -> float:
    """Level-0 pixels per pixel at a magnification, for a slide with `mpp` µm per pixel: from nominal magnifications.

    Raises SlideError if the slide's own magnification cannot be inferred, or the stated one is not a magnification.
    """
    own = min(MAGNIFICATIONS, key=lambda name: abs(math.log(name * mpp / 10)))
    units = "say what a pixel of its coordinates is, e.g. -o profiler.import.units=0.25 (µm), or units=px for level 0"
    if not (math.isfinite(magnification) and 1 <= magnification <= 100):
        raise SlideError(f"{file}: states mag={magnification:g}, which is not a magnification", units)
    if abs(math.log(own * mpp / 10)) > math.log(STATED):
        raise SlideError(
            f"{file}: its coordinates are pixels at {magnification:g}x, but a slide of {mpp:g} µm per pixel is "
            f"{10 / mpp:.0f}x, which is none of {', '.join(f'{m:g}x' for m in MAGNIFICATIONS)}",
            units,
        )
    return own / magnification


def check_resolution(file: str, stated: float | None, mpp: float, trusted: bool) -> list[str]:
    """Notes on a file that states another resolution than `mpp`; SlideError unless `trusted`."""
    if stated is None or 1 / STATED < stated / mpp < STATED:
        return []
    text = f"{file}: states {stated:g} µm per level-0 pixel, but the slide has {mpp:g} by the cohort"
    if not trusted:
        raise SlideError(
            text,
            "one of them is wrong, or the file is another slide's: correct the cohort's mpp, or state the unit of "
            "coordinates, -o profiler.import.units=px",
        )
    return [text]


def check_scale(file: str, ratios: Sequence[float], mpp: float, trusted: bool) -> list[str]:
    """Notes on nuclear areas that a file states in µm² and that differ from its outlines; SlideError unless
    `trusted`. `ratios`: stated over measured areas, at `mpp` µm per level-0 pixel.
    """
    ratio = float(np.median(ratios)) if len(ratios) else 1.0
    if 1 / STATED**2 < ratio < STATED**2:
        return []
    text = f"{file}: states nuclear areas {ratio:.2g} times those of its outlines at {mpp:g} µm per pixel"
    if not trusted:
        meant = mpp * math.sqrt(ratio) if ratio > 0 else math.nan
        raise SlideError(
            text,
            f"its pixels seem to have {meant:.3g} µm: correct the cohort's mpp, or state the unit of coordinates, "
            f"-o profiler.import.units={meant:.3g} or units=px",
        )
    return [text]


def check_place(
    file: str, xy: Float64, area_um2: Float64, mpp: float, size: tuple[float, float] | None, trusted: bool
) -> list[str]:
    """Raise SlideError with the numbers if positions cannot be level-0 pixels of the slide; else return notes.

    `xy`: float64[cell 2] as level-0 pixels; `area_um2`: nuclear areas as they would then be, NaN where unknown;
    `size`: the slide's (width, height) if known; `trusted`: the user stated the units, so that only positions off the
    slide are refused.
    """
    low, high = xy.min(0), xy.max(0)
    reach = f"x from {low[0]:,.0f} to {high[0]:,.0f} and y from {low[1]:,.0f} to {high[1]:,.0f}"
    known = "" if size is None else f"; the slide has {size[0]:,.0f} x {size[1]:,.0f} pixels of {mpp:g} µm"
    hint = (
        "export coordinates of the whole slide at level 0; or state their unit, -o profiler.import.units=um, "
        "units=px, or the µm of their pixels"
    )
    if size is not None:
        outside = float(np.mean(np.any((xy < 0) | (xy > size), axis=1)))
        if outside > OUTSIDE:
            raise SlideError(f"{file}: {outside:.0%} of the cells lie off the slide: {reach}{known}", hint)
    odd = _odd_ones(xy, area_um2, size)
    if len(xy) < MIN_CELLS:
        return odd
    areas = area_um2[~np.isnan(area_um2)]
    area = float(np.median(areas)) if len(areas) else math.nan
    diameter = 2 * math.sqrt(area / math.pi)
    unusual = area < USUAL_UM2[0] or area > USUAL_UM2[1]
    told = [
        f"nuclei are {diameter:.1f} µm across ({area:,.0f} µm², median) at {mpp:g} µm per pixel: unusual; check that "
        "resolution and coordinates are the slide's"
    ]
    told = [*odd, *(told if unusual else ())]
    if trusted:
        return told
    spacing = _spacing(xy) * mpp
    fits_um = size is not None and bool(np.all(high <= np.array(size) * mpp * 1.02)) and mpp < 1
    shown = f"nuclei would be {diameter:.1f} µm across" if len(areas) else f"cells would be {spacing:.1f} µm apart"
    if diameter < (SUSPECT_UM if fits_um else SMALL_UM) or (
        math.isnan(diameter) and spacing < SUSPECT_SPACING_UM and fits_um
    ):
        raise SlideError(f"{file}: coordinates seem to be micrometers, not pixels: {shown}, {reach}{known}", hint)
    if diameter > LARGE_UM:
        raise SlideError(
            f"{file}: wrongly scaled: {shown} ({area:,.0f} µm²) at {mpp:g} µm per pixel, {reach}{known}", hint
        )
    if size is not None and np.all(high * CORNER < size) and high.max() <= TILE_PX:
        raise SlideError(
            f"{file}: coordinates seem to be those of a tile: {reach}{known}",
            "add each tile's position and export coordinates of the whole slide at level 0; if the cells really lie "
            "only in that corner, give -o profiler.import.units=px",
        )
    if spacing < DENSE_UM:
        raise SlideError(
            f"{file}: cells lie on top of each other: the nearest is {spacing:.1f} µm away (median), {reach}{known}",
            "coordinates of several tiles without the tiles' positions, micrometers taken for pixels, or every cell "
            "duplicated: export whole-slide coordinates; or give -o profiler.import.units=um or units=px",
        )
    return told


def _odd_ones(xy: Float64, area_um2: Float64, size: tuple[float, float] | None) -> list[str]:
    """Notes on single cells that lie off the slide, or are too large for nuclei."""
    off = 0 if size is None else int(np.any((xy < 0) | (xy > size), axis=1).sum())
    large = int((area_um2 > GIANT_UM2).sum())
    return [
        *([f"{off:,} of {len(xy):,} cells lie off the slide; they are counted"] if off else ()),
        *([f"{large:,} of {len(xy):,} cells are larger than {GIANT_UM2:,.0f} µm²; they are counted"] if large else ()),
    ]


def _spacing(xy: Float64) -> float:
    """Median distance to the nearest other cell, of up to 20,000 cells."""
    some = xy[:: max(1, len(xy) // _SAMPLE)]
    return float(np.median(cKDTree(xy).query(some, k=2)[0][:, 1]))
