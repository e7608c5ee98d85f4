"""Group D: immune phenotype on squares of 1 mm² that move by half a side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import SemanticProfile, Squares
from kras_plugins.errors import ConfigError
from kras_plugins.semantics.lattice import area_by_square
from kras_plugins.semantics.view import View

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

SIDE_UM = 1000.0
SHARE = 1 / 3
IIP_SHARE = 0.20  # Shen et al., J Immunother Cancer 2024;12:e008339
MIN_TA_MM2 = 0.05
MIN_PART_MM2 = 0.01  # under 1 / 106 mm² a single lymphocyte would make a square inflamed
GRIDS = 4
DESERT, EXCLUDED, INFLAMED = 0.0, 1.0, 2.0
INFLAMED_PATIENTS, EXCLUDED_PATIENTS = 0.440, 0.371
"""Shares of patients with NSCLC whose tumor is inflamed or excluded by the published rule (Park et al. 2022)."""
MIN_PATIENTS, MIN_GRIDS = 20, 3


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Lymphocytes per mm² of epithelium (`ce`) above which a square is inflamed, of stroma (`cs`) excluded.

    `preset` names where they come from: `lunit_jco2022` or `quantile`.
    """

    ce: float
    cs: float
    preset: str


LUNIT_JCO2022 = Thresholds(ce=106.0, cs=357.0, preset="lunit_jco2022")
"""As published: Park et al., J Clin Oncol 2022;40:1916-1928. They depend on the detector: see `fit_thresholds`."""


def squares(view: View) -> Squares:
    """The squares of four grids together, the first with a corner at the tumor area's centroid, the others moved by
    half a side along x, y and both; those with under 0.05 mm² of tumor area are left out.

    The result thus does not depend on where the slide begins, and not much on where a grid lies. Each square consists
    of four squares of half the side.
    """
    half = view.lattice(SIDE_UM / 2)
    if not half.area.any():
        return Squares(*np.zeros((4, 0)))

    def area(name: str) -> Float64:  # to a µm², so that single precision decides at no threshold
        parts = area_by_square(view.pixels(name), view.raster, half.origin_um, half.area.shape, half.side_um)
        return np.round(parts, 6)

    def cells(inside: Bool) -> Float64:
        return half.count(view.xy[view.lymphocyte & inside])

    ce, cs, in_ce, in_cs = (
        _by_four(values)
        for values in (area("cancer_epithelium"), area("cancer_stroma"), cells(view.in_ce), cells(view.in_cs))
    )
    use = np.round(ce + cs, 6) >= MIN_TA_MM2
    return Squares(ce[use], cs[use], in_ce[use], in_cs[use])


def _by_four(values: Float64) -> Float64:
    """Sums over every 2 x 2 neighbors, those beyond the rim being zero: float64[row + 1, column + 1] as one row."""
    wide = np.pad(values, 1)
    return np.round(wide[1:, 1:] + wide[1:, :-1] + wide[:-1, 1:] + wide[:-1, :-1], 6).ravel()


def phenotype(view: View, thresholds: Thresholds = LUNIT_JCO2022) -> dict[str, float]:
    """Group D of docs/reference/definitions.md."""
    grid = squares(view)
    itil, stil = (values[~np.isnan(values)] for values in _densities(grid))
    return {
        **shares(grid, thresholds),
        **_quantiles("grid_itil", itil, (10, 50, 90)),
        "grid_itil_cv": _cv(itil),
        **_quantiles("grid_stil", stil, (50, 90)),
        "grid_stil_cv": _cv(stil),
        "grid_til_gini": gini((grid.in_ce + grid.in_cs) / (grid.ce + grid.cs)),
        "n_grids": n_grids(grid),
    }


def n_grids(grid: Squares) -> float:
    """How many squares a grid has, on average over the four."""
    return len(grid.ce) / GRIDS


def shares(grid: Squares, thresholds: Thresholds) -> dict[str, float]:
    """Those features of group D that depend on thresholds, of at least one square."""
    itil, stil = _densities(grid)
    inflamed = itil > thresholds.ce
    excluded = ~inflamed & (stil > thresholds.cs)
    found = [float(np.mean(hit)) for hit in (inflamed, excluded, ~inflamed & ~excluded)]
    values = dict(zip(("is", "ies", "ids"), found, strict=True))
    values["iip_frac"] = found[0]
    return {**values, **calls(values), "ip_entropy": -sum(p * math.log2(p) for p in found if p > 0)}


def pooled(grids: Sequence[Squares]) -> Squares:
    """The squares of one patient's slides together."""
    return Squares(*(np.concatenate([getattr(g, name) for g in grids]) for name in ("ce", "cs", "in_ce", "in_cs")))


def fit_thresholds(patients: Sequence[Squares]) -> Thresholds:
    """Preset `quantile`: thresholds with which as many TRAINING patients are inflamed and excluded as were published.

    44.0 % inflamed, and of the others 37.1 / 56.0 excluded (Park et al. 2022): each patient is inflamed below a
    threshold of its own, which a third of its squares exceed, and the cohort's threshold is a quantile of those.
    Patients with fewer than three squares per grid do not count. The published cohort's mix of patients is assumed to
    apply to this one. Raises ConfigError for fewer than 20 patients.
    """
    known = [_densities(grid) for grid in patients if n_grids(grid) >= MIN_GRIDS]
    if len(known) < MIN_PATIENTS:
        raise ConfigError(
            f"{len(known)} training patients have {MIN_GRIDS} squares of tumor or more; {MIN_PATIENTS} are needed",
            "use ip_preset = lunit_jco2022, or train on more patients",
        )
    ce = _quantile([_critical(itil) for itil, _ in known], 1 - INFLAMED_PATIENTS)
    stroma = [np.where(itil > ce, np.nan, stil) for itil, stil in known if not _critical(itil) > ce]
    cs = _quantile([_critical(stil) for stil in stroma], 1 - EXCLUDED_PATIENTS / (1 - INFLAMED_PATIENTS))
    return Thresholds(ce=ce, cs=cs, preset="quantile")


def squares_of(profile: SemanticProfile) -> Squares:
    """A profile's squares; raises ConfigError where it has none."""
    if profile.squares is None:
        raise ConfigError(
            f"{profile.id}: features made elsewhere have no squares to call the immune phenotype from",
            "use ip_preset = lunit_jco2022, or import cells and tissue instead of finished features",
        )
    return profile.squares


def with_thresholds(profile: SemanticProfile, thresholds: Thresholds) -> SemanticProfile:
    """A slide's or patient's profile with its immune phenotype by other thresholds.

    All squares of a patient's slides count alike. Unchanged where group D is not valid. Raises ConfigError where the
    profile has no squares.
    """
    grid = squares_of(profile)
    if not profile.valid.get("D", False):
        return profile
    new = shares(grid, thresholds)
    values = [new.get(name, value) for name, value in zip(profile.names, profile.values.tolist(), strict=True)]
    return replace(profile, values=np.array(values, np.float64))


def _critical(density: Float64) -> float:
    """The threshold that just over a third of the squares reach; squares without a density never do."""
    ranked = np.sort(np.nan_to_num(density, nan=-np.inf))[::-1]
    return float(ranked[math.floor(len(ranked) * SHARE + 1e-9)])


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest of values, at least 0, that `share` of them do not exceed."""
    found = np.sort(np.maximum(np.array(values), 0.0))
    return float(found[max(0, math.ceil(share * len(found) - 1e-9) - 1)])


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


def _densities(grid: Squares) -> tuple[Float64, Float64]:
    """Lymphocytes per mm² of epithelium and of stroma, NaN where a square has too little of it."""
    return _density(grid.in_ce, grid.ce), _density(grid.in_cs, grid.cs)


def _density(count: Float64, area: Float64) -> Float64:
    return np.asarray(np.divide(count, area, out=np.full(len(area), np.nan), where=area >= MIN_PART_MM2))


def _quantiles(name: str, values: Float64, percent: tuple[int, ...]) -> dict[str, float]:
    found = np.percentile(values, percent) if len(values) else np.full(len(percent), np.nan)
    return {f"{name}_p{p}": float(v) for p, v in zip(percent, found, strict=True)}


def _cv(values: Float64) -> float:
    mean = float(values.mean()) if len(values) > 1 else 0.0
    return float(values.std(ddof=1)) / mean if mean > 0 else math.nan


def gini(values: Float64) -> float:
    """Gini coefficient: 0 all equal, (n - 1) / n all in one; NaN where all are zero."""
    n, total = len(values), float(values.sum())
    if total == 0:
        return math.nan
    rank = np.arange(1, n + 1)
    return float(2 * np.sum(rank * np.sort(values)) / (n * total) - (n + 1) / n)
