"""Counts and areas of a patient's slides, summed: a ratio of two sums is not a mean of ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.semantics.features.areas import EPSILON_MM2
from kras_plugins.semantics.features.validity import MIN_CE_MM2, MIN_TUMOR
from kras_plugins.semantics.view import ratio

if TYPE_CHECKING:
    from kras_plugins.data import Float64

_COUNTS = {
    "T": (("tc_ta", "area_ta"),),
    "L": (("til_ta", "area_ta"),),
    "L in CE": (("itil", "area_ce"),),
    "F": (("fib_ta", "area_ta"),),
    "M": (("mac_ce", "area_ce"), ("mac_cs", "area_cs")),
    "neutrophils": (("neut_ta", "area_ta"),),
    "all": (("cell_ta", "area_ta"),),
}
"""Cells in the tumor area; profiles state densities, so counts are density x area, summed over its parts."""
_RATIOS = {
    "purity": ("T", "all"),
    "lt_ratio": ("L", "T"),
    "lym_frac": ("L", "all"),
    "il_share": ("L in CE", "L"),
    "fib_tum": ("F", "T"),
    "mac_lym": ("M", "L"),
    "neut_lym": ("neutrophils", "L"),
    "fib_lym": ("F", "L"),
}
_MORE = ("stil", "til_normal", "area_necrosis", "area_tissue", "frac_necrosis", "log_ce_cs", "log_itil_stil")
INPUTS = frozenset({*_RATIOS, *_MORE, *(name for parts in _COUNTS.values() for pair in parts for name in pair)})
"""Features that a profile must have for this, including those that are computed."""


def ratios_of_sums(column: Mapping[str, Float64]) -> dict[str, float]:
    """The ratios of groups A to C that are not an area-weighted mean over slides, from counts and areas.

    `column`: float64[slide] of each feature. NaN where no slide knows what is needed.
    """
    n = {kind: _sum([column[density] * column[area] for density, area in parts]) for kind, parts in _COUNTS.items()}
    ce, cs, ta, necrosis = (_sum([column[name]]) for name in ("area_ce", "area_cs", "area_ta", "area_necrosis"))
    itil, stil = (_mean(column[name], column[area]) for name, area in (("itil", "area_ce"), ("stil", "area_cs")))
    return {
        **{name: ratio(n[above], n[below]) for name, (above, below) in _RATIOS.items()},
        "log_itil_stil": math.log((itil + 1) / (stil + 1)),
        "log_ce_cs": math.log((ce + EPSILON_MM2) / (cs + EPSILON_MM2)) if ta > 0 else math.nan,
        "frac_necrosis": ratio(necrosis, ta + necrosis),
        "til_normal": _mean(column["til_normal"], column["area_tissue"] - column["area_ta"]),
    }


def suffice(column: Mapping[str, Float64]) -> dict[str, bool]:
    """Whether a patient's slides together have what groups B and C require (`validity.RULES`)."""
    epithelium = bool(_sum([column["area_ce"]]) >= MIN_CE_MM2 * (1 - 1e-9))
    tumor = bool(round(np.nan_to_num(_sum([column["tc_ta"] * column["area_ta"]])), 3) >= MIN_TUMOR)
    return {"B": epithelium, "C": epithelium and tumor}


def _sum(parts: list[Float64]) -> float:
    """The sum of the known values, NaN if none is known."""
    values = np.concatenate(parts)
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else math.nan


def _mean(values: Float64, area: Float64) -> float:
    """The mean of known values weighted by area, NaN where none is known."""
    known = ~np.isnan(values) & (area > 0)
    return float(np.average(values[known], weights=area[known])) if known.any() else math.nan
