"""Group J: lymphocytes by their distance from the border between cancer epithelium and stroma."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_plugins.semantics.raster import Index

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
"""Bands of signed distance in µm, negative in epithelium; each without its lower and with its upper end."""
STEP_UM, LOW_UM, HIGH_UM = 25, -150, 500
SLOPE_UM, MARGIN_UM = 150, 100
MIN_BAND_MM2 = 0.01
OUTSIDE = ("cancer_stroma", "other")
"""What counts beyond the border. `other` too, for stroma ends at 200 µm where epithelium comes from cell density."""


def interface(view: View) -> dict[str, float]:
    """Group J of docs/reference/definitions.md. Edges of epithelium that do not touch stroma do not count as border."""
    steps = _steps(view)
    at_cells = view.signed_um[view.row, view.column]
    depth = -at_cells[view.lymphocyte & view.in_ce]
    near = view.lymphocyte & view.in_ta & (np.abs(at_cells) <= MARGIN_UM)
    inside, outside = steps.density(-MARGIN_UM, 0), steps.density(0, MARGIN_UM)
    length = interface_mm(view)
    return {
        **{name: steps.density(*ends) for name, ends in BANDS.items()},
        "til_slope": steps.slope(),
        "til_in_out": ratio(inside, outside),
        "til_depth": float(np.median(depth)) if len(depth) else math.nan,
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
    n = (HIGH_UM - LOW_UM) // STEP_UM
    pixels = view.pixels("cancer_epithelium", *OUTSIDE)
    cells = view.lymphocyte & view.within("cancer_epithelium", *OUTSIDE)
    found = []
    for signed in (view.signed_um[pixels], view.signed_um[view.row[cells], view.column[cells]]):
        step: Index = np.ceil((signed - LOW_UM) / STEP_UM) - 1
        inside = (step >= 0) & (step < n)
        found.append(np.bincount(step[inside].astype(np.int64), minlength=n).astype(np.float64))
    return Steps(found[0] * view.raster.pixel_mm2, found[1])


def interface_mm(view: View) -> float:
    """Length of the border between epithelium and stroma in mm.

    The total variation of the epithelium's mask, smoothed by one pixel, is its perimeter in any direction (coarea
    formula); each bit of it counts by the share of stroma among what lies beside the epithelium there.
    """
    epithelium, stroma = (
        ndimage.gaussian_filter(view.cut(view.pixels(name), margin=4).astype(np.float32), 1.0, mode="nearest")
        for name in ("cancer_epithelium", "cancer_stroma")
    )
    steep = np.hypot(*np.gradient(epithelium))
    beside = np.clip(stroma / np.maximum(1 - epithelium, 1e-3), 0, 1)
    return float(np.sum(steep * beside, dtype=np.float64)) * view.raster.mpp / 1000
