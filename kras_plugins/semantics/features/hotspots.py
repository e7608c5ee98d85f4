"""Group H: where squares contain more cells than expected by chance (Getis-Ord), and how such hotspots overlap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from kras_plugins.semantics.lattice import area_by_square, queen_sum
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

HOTSPOT_SIDE_UM = 50.0
FALSE_DISCOVERY = 0.05
NAMES = (
    "immune_hs_frac", "cancer_hs_frac", "co_hs_immune", "co_hs_cancer", "co_hs_all", "immune_hs_ce", "cold_l_frac",
    "gi_max",
)  # fmt: skip


def hotspots(view: View) -> dict[str, float]:
    """Group H of docs/reference/definitions.md, per mm² of tumor area in 50 µm squares; NaN where cells do not vary."""
    lattice = view.lattice(HOTSPOT_SIDE_UM)
    use = lattice.use
    z_l, z_t = (
        getis_ord(lattice.density(lattice.count(view.xy[kind & view.in_ta])), use)
        for kind in (view.lymphocyte, view.tumor)
    )
    if np.isnan(z_l).all() or np.isnan(z_t).all():
        return dict.fromkeys(NAMES, math.nan)
    (immune, cold), (cancer, _) = significant(z_l), significant(z_t)
    epithelium = area_by_square(
        view.pixels("cancer_epithelium"), view.raster, lattice.origin_um, lattice.area.shape, lattice.side_um
    )[use]
    both, n = float(np.count_nonzero(immune & cancer)), float(np.count_nonzero(use))
    return {
        "immune_hs_frac": np.count_nonzero(immune) / n,
        "cancer_hs_frac": np.count_nonzero(cancer) / n,
        "co_hs_immune": ratio(both, float(np.count_nonzero(immune))),
        "co_hs_cancer": ratio(both, float(np.count_nonzero(cancer))),
        "co_hs_all": both / n,
        "immune_hs_ce": ratio(float(epithelium[immune].sum()), float(lattice.area[use][immune].sum())),
        "cold_l_frac": np.count_nonzero(cold) / n,
        "gi_max": float(z_l.max()),
    }


def getis_ord(values: Float64, use: Bool) -> Float64:
    """Gi* of each used square, float64[square]: a z-score of the sum over it and its queen neighbors.

    Ord & Getis, Geogr Anal 1995;27:286, binary weights. NaN where the values do not vary.
    """
    x = values[use]
    n = len(x)
    deviation = float(x.std()) if n else 0.0
    if n < 2 or deviation <= 1e-12 * float(np.abs(x).max()):
        return np.full(n, np.nan)
    weight = queen_sum(np.ones(use.shape), use, itself=True)[use]
    total = queen_sum(values, use, itself=True)[use]
    spread = deviation * np.sqrt((n * weight - weight**2) / (n - 1))
    return np.asarray(np.divide(total - x.mean() * weight, spread, out=np.full(n, np.nan), where=spread > 0))


def significant(z: Float64) -> tuple[Bool, Bool]:
    """Hot and cold squares bool[square]: two-sided normal p, false discovery rate 5 % (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    hit = np.asarray(false_discovery_control(2 * ndtr(-np.abs(z))) <= FALSE_DISCOVERY)
    return hit & (z > 0), hit & (z < 0)
