"""Group G: how similar the patterns of tumor cells and lymphocytes are on squares, and how clustered each is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.semantics.lattice import queen_sum
from kras_plugins.semantics.view import View, ratio

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

SIDE_UM = 100.0
MORISITA_UM = (50.0, 100.0, 200.0)
BOX_UM, BOX_STEP_UM = 200.0, 50.0
MIN_ENTROPY_CELLS = 5


def similarity(view: View) -> dict[str, float]:
    """Group G of docs/reference/definitions.md, on squares of which at least half lies in the tumor area.

    Autocorrelation is of cells per mm² of tumor area, with row-standardized queen neighbors.
    """
    tumor, lymphocytes = view.xy[view.tumor & view.in_ta], view.xy[view.lymphocyte & view.in_ta]
    values = {}
    for side in MORISITA_UM:
        lattice = view.lattice(side)
        values[f"mh_{side:.0f}"] = morisita_horn(
            lattice.count(tumor)[lattice.use], lattice.count(lymphocytes)[lattice.use]
        )
    lattice = view.lattice(SIDE_UM)
    use, counts = lattice.use, (lattice.count(tumor), lattice.count(lymphocytes))
    t, lym = (c[use] for c in counts)
    density_t, density_l = (lattice.density(c) for c in counts)
    fine = view.lattice(BOX_STEP_UM)
    return {
        **values,
        "bhattacharyya": bhattacharyya(t, lym),
        "sorensen": sorensen(t > 0, lym > 0),
        "pearson_tl": pearson(np.log1p(t), np.log1p(lym)),
        "moran_l": moran(density_l, use),
        "geary_l": geary(density_l, use),
        "moran_t": moran(density_t, use),
        "lee_tl": lee(density_t, density_l, use),
        "local_entropy": local_entropy(t, lym),
        "lacunarity_l": lacunarity(fine.count(lymphocytes), fine.area, round(BOX_UM / BOX_STEP_UM), BOX_UM),
    }


def morisita_horn(a: Float64, b: Float64) -> float:
    """2 Σ p q / (Σ p² + Σ q²) of the shares of two kinds per square: 0 apart, 1 alike. Horn, Am Nat 1966;100:419."""
    if a.sum() == 0 or b.sum() == 0:
        return math.nan
    p, q = a / a.sum(), b / b.sum()
    return float(2 * (p @ q) / (p @ p + q @ q))


def bhattacharyya(a: Float64, b: Float64) -> float:
    """Σ sqrt(p q) of the shares of two kinds per square: 0 apart, 1 alike."""
    if a.sum() == 0 or b.sum() == 0:
        return math.nan
    return float(np.sqrt(a / a.sum() * (b / b.sum())).sum())


def sorensen(a: Bool, b: Bool) -> float:
    """2 |a and b| / (|a| + |b|) of presence per square; NaN if one is present nowhere."""
    if not a.any() or not b.any():
        return math.nan
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def pearson(a: Float64, b: Float64) -> float:
    """Correlation; NaN where one does not vary."""
    x, y = a - a.mean(), b - b.mean()
    return ratio(float(x @ y), math.sqrt(float(x @ x) * float(y @ y)))


def moran(values: Float64, use: Bool) -> float:
    """Moran's I float64[row column] over used squares, row-standardized queen weights (Moran 1950): about 0 at random.

    Squares without a neighbor are left out; NaN where the values do not vary.
    """
    use, degree = _connected(use)
    z = _centered(values, use)
    return ratio(float(np.sum(z * queen_sum(z, use) / degree)), float(np.sum(z * z)))


def geary(values: Float64, use: Bool) -> float:
    """Geary's C with the weights of `moran` (Geary 1954): 1 at random, near 0 where neighbors are alike."""
    use, degree = _connected(use)
    z = _centered(values, use)
    n = int(use.sum())
    squared = z * z + (queen_sum(z * z, use) - 2 * z * queen_sum(z, use)) / degree
    return ratio((n - 1) * float(squared[use].sum()), 2 * n * float(np.sum(z * z)))


def lee(a: Float64, b: Float64, use: Bool) -> float:
    """Lee's L of two patterns with row-standardized queen neighbors and the square itself (Lee, J Geogr Syst 2001).

    Their correlation after smoothing, times the smoothness of each.
    """
    x, y = _centered(a, use), _centered(b, use)
    degree = np.maximum(queen_sum(np.ones_like(x), use, itself=True), 1.0)
    smooth = (queen_sum(x, use, itself=True) / degree) * (queen_sum(y, use, itself=True) / degree)
    return ratio(float(smooth[use].sum()), math.sqrt(float(np.sum(x * x)) * float(np.sum(y * y))))


def local_entropy(a: Float64, b: Float64) -> float:
    """Mean Shannon entropy in bits of the two kinds within a square, over squares with at least five cells."""
    n = a + b
    enough = n >= MIN_ENTROPY_CELLS
    if not enough.any():
        return math.nan
    p = np.stack([a, b])[:, enough] / n[enough]
    return float(-np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=0).mean())


def lacunarity(counts: Float64, area: Float64, box: int, side_um: float) -> float:
    """E[m²] / E[m]² of the density m in a gliding box of `box` x `box` squares (Allain & Cloitre, Phys Rev A 1991).

    `area`: mm² of each square within the window; boxes of which less than half lies in it do not count. 1 where evenly
    spread, 1 + 1/mean count at random.
    """

    def boxes(values: Float64) -> Float64:
        total = np.pad(values, box).cumsum(0).cumsum(1)
        return np.asarray(total[box:, box:] - total[:-box, box:] - total[box:, :-box] + total[:-box, :-box])

    inside = boxes(area)
    whole = (side_um / 1000) ** 2
    enough = inside >= 0.5 * whole * (1 - 1e-9)
    density = boxes(counts)[enough] / inside[enough]
    if not density.size:
        return math.nan
    return ratio(float(np.mean(density**2)), float(np.mean(density)) ** 2)


def _connected(use: Bool) -> tuple[Bool, Float64]:
    """Used squares that have neighbors, and how many each has (1 elsewhere)."""
    degree = queen_sum(np.ones(use.shape), use)
    return use & (degree > 0), np.maximum(degree, 1.0)


def _centered(values: Float64, use: Bool) -> Float64:
    return np.where(use, values - values[use].mean() if use.any() else 0.0, 0.0)
