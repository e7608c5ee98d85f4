"""Group J: lymphocytes by their distance from the border between cancer epithelium and stroma."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from kras_plugins.semantics.crofton import edge_length
from kras_plugins.semantics.raster import blocks
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64

BANDS = {
    "til_m150_m100": (-150, -100),
    "til_m100_m50": (-100, -50),
    "til_m50_0": (-50, 0),
    "til_0_50": (0, 50),
    "til_50_100": (50, 100),
    "til_100_200": (100, 200),
    "til_200_300": (200, 300),
    "til_300_500": (300, 500),
}
"""Bands of signed distance in µm, negative in epithelium; each excludes its lower and includes its upper end."""
STEP_UM, LOW_UM, HIGH_UM = 25, -150, 500
SLOPE_UM, MARGIN_UM = 150, 100
MIN_BAND_MM2 = 0.01
OUTSIDE = ("cancer_stroma", "other")
"""Classes that count beyond the border; `other` too, as stroma ends at 200 µm if epithelium comes from cell density."""


def interface(view: View) -> dict[str, float]:
    """Group J of docs/reference/definitions.md. Edges of epithelium that do not touch stroma do not count as border."""
    steps = _steps(view)
    at_cells = view.signed_um[view.row, view.column]
    near = view.lymphocyte & view.in_ta & (np.abs(at_cells) <= MARGIN_UM)
    inside, outside = steps.density(-MARGIN_UM, 0), steps.density(0, MARGIN_UM)
    masks = (view.cut(view.pixels(name), margin=1) for name in ("cancer_epithelium", "cancer_stroma"))
    length = edge_length(*masks) * view.raster.mpp / 1000
    return {
        **{name: steps.density(*ends) for name, ends in BANDS.items()},
        "til_slope": steps.slope(),
        "til_in_out": ratio(inside, outside),
        "til_depth": depth(view),
        "interface_len": length,
        "interface_density": ratio(length, view.area("cancer_epithelium")),
        "til_margin_stroma": ratio(float(np.count_nonzero(near & view.in_cs)), float(np.count_nonzero(near))),
    }


@dataclass(frozen=True)
class Steps:
    """Area in mm² and lymphocytes, float64[step], at signed distances (-150, -125], (-125, -100], ... (475, 500] µm."""

    area: Float64
    cells: Float64

    def density(self, low: int, high: int) -> float:
        """Lymphocytes per mm² at distances (low, high] in µm; NaN where there is less than 0.01 mm²."""
        band = slice((low - LOW_UM) // STEP_UM, (high - LOW_UM) // STEP_UM)
        area = float(self.area[band].sum())
        return float(self.cells[band].sum()) / area if area >= MIN_BAND_MM2 * (1 - 1e-9) else math.nan

    def slope(self) -> float:
        """Slope of ln(density + 1) on distance in 1/µm within 150 µm, by least squares weighted by area."""
        n = (2 * SLOPE_UM) // STEP_UM
        area, cells = self.area[:n], self.cells[:n]
        enough = area >= MIN_BAND_MM2 * (1 - 1e-9)
        if min(enough[: n // 2].sum(), enough[n // 2 :].sum()) < 2:
            return math.nan
        weight = area[enough]
        s = (np.arange(n) * STEP_UM + LOW_UM + STEP_UM / 2)[enough]
        y = np.log(cells[enough] / weight + 1)
        s = s - np.average(s, weights=weight)
        return float(np.sum(weight * s * y) / np.sum(weight * s * s))


def _steps(view: View) -> Steps:
    pixels = view.pixels("cancer_epithelium", *OUTSIDE)
    cells = view.lymphocyte & view.within("cancer_epithelium", *OUTSIDE)
    area = np.sum([_by_step(view.signed_um[rows][pixels[rows]]) for rows in blocks(len(pixels))], axis=0)
    return Steps(area * view.raster.pixel_mm2, _by_step(view.signed_um[view.row[cells], view.column[cells]]))


def _by_step(signed_um: Float32) -> Float64:
    """How many of these distances lie in each step, float64[step]."""
    n = (HIGH_UM - LOW_UM) // STEP_UM
    step = np.ceil((signed_um - LOW_UM) / STEP_UM) - 1
    return np.bincount(step[(step >= 0) & (step < n)].astype(np.int64), minlength=n).astype(np.float64)


def depth(view: View) -> float:
    """Median distance in µm of the epithelium's lymphocytes from the border, NaN without any.

    Interpolated bilinearly between pixel centers, whose own distances are multiples of some µm.
    """
    chosen = view.lymphocyte & view.in_ce
    if not chosen.any() or not view.has_interface:
        return math.nan
    at = (view.xy[chosen] - np.array(view.raster.origin_um)) / view.raster.mpp - 0.5
    signed = ndimage.map_coordinates(view.signed_um, at[:, ::-1].T, order=1, mode="nearest")
    return float(np.median(np.maximum(-signed, 0)))
