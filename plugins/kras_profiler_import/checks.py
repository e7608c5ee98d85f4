"""Coordinates that cannot be what they are taken for: micrometers, a tile's own pixels, another slide's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from kras_plugins import SlideError

if TYPE_CHECKING:
    from kras_plugins.data import Float64

MIN_CELLS = 50
SMALL_UM, SUSPECT_UM, LARGE_UM = 4.0, 5.0, 40.0
"""Median diameter of nuclei: under 4 or over 40 µm is none; under 5 counts where the extent fits micrometers too."""
DENSE_UM, SUSPECT_SPACING_UM = 2.5, 4.5
"""Median distance of a cell to its nearest neighbor; even lymphocytes packed side by side are 5 µm apart."""
OUTSIDE = 0.01
CORNER = 8  # coordinates within an eighth of the slide along both axes, at its corner, are those of a tile
TILE_PX = 8192
_SAMPLE = 20_000


def check_place(
    file: str, xy: Float64, area_um2: Float64, mpp: float, size: tuple[float, float] | None, trusted: bool
) -> None:
    """Raise SlideError with the numbers where positions cannot be level-0 pixels of the slide.

    `xy`: float64[cell 2] as level-0 pixels; `area_um2`: nuclear areas as they would then be, NaN where unknown;
    `size`: the slide's (width, height) if known; `trusted`: the user said what the units are, so that only what lies
    off the slide is refused.
    """
    low, high = xy.min(0), xy.max(0)
    reach = f"x from {low[0]:,.0f} to {high[0]:,.0f} and y from {low[1]:,.0f} to {high[1]:,.0f}"
    known = "" if size is None else f"; the slide has {size[0]:,.0f} x {size[1]:,.0f} pixels of {mpp:g} µm"
    hint = (
        "export coordinates of the whole slide at level 0; or say what they are, -o profiler.import.units=um, "
        "units=px, or the µm of their pixels"
    )
    if size is not None:
        outside = float(np.mean(np.any((xy < 0) | (xy > size), axis=1)))
        if outside > OUTSIDE:
            raise SlideError(f"{file}: {outside:.0%} of the cells lie off the slide: {reach}{known}", hint)
    if trusted or len(xy) < MIN_CELLS:
        return
    spacing = _spacing(xy) * mpp
    areas = area_um2[~np.isnan(area_um2)]
    diameter = 2 * math.sqrt(float(np.median(areas)) / math.pi) if len(areas) else math.nan
    fits_um = size is not None and bool(np.all(high <= np.array(size) * mpp * 1.02)) and mpp < 1
    shown = f"nuclei would be {diameter:.1f} µm across" if len(areas) else f"cells would be {spacing:.1f} µm apart"
    if diameter < (SUSPECT_UM if fits_um else SMALL_UM) or (
        math.isnan(diameter) and spacing < SUSPECT_SPACING_UM and fits_um
    ):
        raise SlideError(f"{file}: coordinates seem to be micrometers, not pixels: {shown}, {reach}{known}", hint)
    if diameter > LARGE_UM:
        raise SlideError(f"{file}: wrongly scaled: {shown} at {mpp:g} µm per pixel, {reach}{known}", hint)
    if size is not None and np.all(high * CORNER < size) and high.max() <= TILE_PX:
        raise SlideError(
            f"{file}: coordinates seem to be those of a tile: {reach}{known}",
            "add each tile's position and export coordinates of the whole slide at level 0; where the cells truly lie "
            "in that corner alone, say -o profiler.import.units=px",
        )
    if spacing < DENSE_UM:
        raise SlideError(
            f"{file}: cells lie on top of each other: the nearest is {spacing:.1f} µm away (median), {reach}{known}",
            "coordinates of several tiles without the tiles' positions, micrometers taken for pixels, or every cell "
            "twice: export whole-slide coordinates; or say -o profiler.import.units=um or units=px",
        )


def _spacing(xy: Float64) -> float:
    """Median distance to the nearest other cell, of up to 20,000 cells."""
    some = xy[:: max(1, len(xy) // _SAMPLE)]
    return float(np.median(cKDTree(xy).query(some, k=2)[0][:, 1]))
