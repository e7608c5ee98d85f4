"""Group D: immune phenotype on a grid of 1 mm² squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.semantics.view import View

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

SIDE_UM = 1000.0
CE_MM2, CS_MM2 = 106.0, 357.0
"""Lymphocytes per mm² of epithelium and of stroma above which a square is inflamed or excluded: Park et al.,
J Clin Oncol 2022;40:1916-1928."""
SHARE = 1 / 3
IIP_SHARE = 0.20  # Shen et al., J Immunother Cancer 2024;12:e008339
MIN_TA_MM2 = 0.05
MIN_PART_MM2 = 0.01  # under a hundredth of a square one cell would decide a density
DESERT, EXCLUDED, INFLAMED = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Squares:
    """Areas in mm² and lymphocyte counts, float64[square] each, of the squares with enough tumor area."""

    ce: Float64
    cs: Float64
    in_ce: Float64
    in_cs: Float64


def squares(view: View) -> Squares:
    """Cut the tumor area by a grid that starts at the raster's corner; squares under 0.05 mm² of it are left out."""
    height, width = view.raster.shape
    rows = (np.arange(height) * view.raster.mpp // SIDE_UM).astype(np.int64)
    columns = (np.arange(width) * view.raster.mpp // SIDE_UM).astype(np.int64)
    across = int(columns[-1]) + 1
    n = (int(rows[-1]) + 1) * across
    square = rows[:, None] * across + columns[None, :]

    def area(name: str) -> Float64:
        return np.asarray(np.bincount(square[view.pixels(name)], minlength=n) * view.raster.pixel_mm2, np.float64)

    def cells(chosen: Bool) -> Float64:
        return np.bincount(square[view.row[chosen], view.column[chosen]], minlength=n).astype(np.float64)

    ce, cs = area("cancer_epithelium"), area("cancer_stroma")
    use = ce + cs >= MIN_TA_MM2
    counts = (cells(view.lymphocyte & view.in_ce), cells(view.lymphocyte & view.in_cs))
    return Squares(ce[use], cs[use], counts[0][use], counts[1][use])


def phenotype(view: View) -> dict[str, float]:
    """Group D of science.md §3."""
    grid = squares(view)
    itil, stil = _density(grid.in_ce, grid.ce), _density(grid.in_cs, grid.cs)
    inflamed = itil > CE_MM2
    excluded = ~inflamed & (stil > CS_MM2)
    shares = [float(np.mean(hit)) for hit in (inflamed, excluded, ~inflamed & ~excluded)]
    known_i, known_s = itil[~np.isnan(itil)], stil[~np.isnan(stil)]
    values = dict(zip(("is", "ies", "ids"), shares, strict=True))
    values["iip_frac"] = shares[0]
    return {
        **values,
        **calls(values),
        **_quantiles("grid_itil", known_i, (10, 50, 90)),
        "grid_itil_cv": _cv(known_i),
        **_quantiles("grid_stil", known_s, (50, 90)),
        "grid_stil_cv": _cv(known_s),
        "grid_til_gini": _gini((grid.in_ce + grid.in_cs) / (grid.ce + grid.cs)),
        "ip_entropy": -sum(p * math.log2(p) for p in shares if p > 0),
        "n_grids": float(len(grid.ce)),
    }


def calls(values: dict[str, float]) -> dict[str, float]:
    """The slide's or patient's classes from its shares: `ip_class` (0 desert, 1 excluded, 2 inflamed) and `iip_pos`.

    NaN where the shares are.
    """
    inflamed, excluded, iip = values["is"], values["ies"], values["iip_frac"]
    ip = INFLAMED if inflamed > SHARE else EXCLUDED if excluded > SHARE else DESERT
    return {
        "ip_class": math.nan if math.isnan(inflamed) else ip,
        "iip_pos": math.nan if math.isnan(iip) else float(iip >= IIP_SHARE),
    }


def _density(count: Float64, area: Float64) -> Float64:
    return np.asarray(np.divide(count, area, out=np.full(len(area), np.nan), where=area >= MIN_PART_MM2))


def _quantiles(name: str, values: Float64, percent: tuple[int, ...]) -> dict[str, float]:
    found = np.percentile(values, percent) if len(values) else np.full(len(percent), np.nan)
    return {f"{name}_p{p}": float(v) for p, v in zip(percent, found, strict=True)}


def _cv(values: Float64) -> float:
    mean = float(values.mean()) if len(values) > 1 else 0.0
    return float(values.std(ddof=1)) / mean if mean > 0 else math.nan


def _gini(values: Float64) -> float:
    """Gini coefficient: 0 all equal, (n - 1) / n all in one; NaN where all are zero."""
    n, total = len(values), float(values.sum())
    if total == 0:
        return math.nan
    rank = np.arange(1, n + 1)
    return float(2 * np.sum(rank * np.sort(values)) / (n * total) - (n + 1) / n)
