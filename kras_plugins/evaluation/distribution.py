"""How each feature is distributed among the training patients in scope, and where a new patient lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import SemanticProfile

AT = tuple(range(5, 100, 5))
"""Percentiles that are kept; the extremes are not, since they are single patients."""
FEWEST = 20
"""With fewer patients, a twentieth of them is less than one patient."""
MOST_FEATURES = 10_000
"""A table of more features than this would make the bundle's JSON too large to read."""


def training_distribution(profiles: Sequence[SemanticProfile | None]) -> dict[str, Any] | None:
    """What a bundle keeps of its training patients' features, as JSON values; None if there are too few patients.

    `profiles`: of the patients in scope, with the same features. `n` counts those with a profile, `at` are percentiles,
    and `features` has for each name the values at these percentiles, rounded to six digits. A feature that fewer than
    20 patients have is left out.
    """
    known = [p for p in profiles if p is not None]
    if len(known) < FEWEST or len(known[0].names) > MOST_FEATURES:
        return None
    values = np.stack([p.values for p in known])
    features = {
        name: [float(f"{v:.6g}") for v in np.percentile(column[np.isfinite(column)], AT).tolist()]
        for name, column in zip(known[0].names, values.T, strict=True)
        if np.isfinite(column).sum() >= FEWEST
    }
    return {"n": len(known), "at": list(AT), "features": features} if features else None


def percentile(value: float, quantiles: Sequence[float]) -> float:
    """The percentile in [5, 95] of a value among the patients that `quantiles` (at `AT`) are of.

    Linear between two of them; the middle of those that share the value. The ends stand for anything beyond.
    """
    at = [p for p, quantile in zip(AT, quantiles, strict=True) if quantile == value]
    return (at[0] + at[-1]) / 2 if at else float(np.interp(value, quantiles, AT))


def quantiles_of(distribution: Mapping[str, Any] | None, name: str) -> tuple[float, ...]:
    """The quantiles of a feature in a bundle's distribution; empty if it has none."""
    return () if distribution is None else tuple(distribution["features"].get(name, ()))
