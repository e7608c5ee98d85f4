"""Slides of one patient -> one profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import SemanticProfile
from kras_plugins.errors import ConfigError
from kras_plugins.semantics.features.architecture import fragmented
from kras_plugins.semantics.features.phenotype import calls, pooled
from kras_plugins.semantics.features.table import BY_NAME, FEATURES
from kras_plugins.semantics.features.validity import OF_FIELDS
from kras_plugins.semantics.pooling import INPUTS, ratios_of_sums, suffice

if TYPE_CHECKING:
    from kras_plugins.data import Float64

_CALLS = ((("is", "ies", "iip_frac"), calls), (("tfi",), fragmented))
"""What classes are called from, and what calls them."""


def combine(profiles: Sequence[SemanticProfile], patient_id: str) -> SemanticProfile:
    """One profile from those of a patient's slides, which must have the same names in the same order.

    Areas and counts are summed over the slides that have them. Other features are averaged over the slides that have
    them, weighted by the area they refer to (`Feature.weight`), or equally where no such area is known. Classes are
    called again from the combined shares; ratios (`pooling`) are computed again from summed counts and areas. A feature
    that no slide has is NaN. A group is valid if it is valid on any slide. Densities and ratios, which fields of view
    have whatever their size, are also valid where the patient's slides together suffice, else they are NaN. The squares
    of all slides are pooled.
    Raises ConfigError for no profiles or different names.
    """
    if not profiles:
        raise ConfigError(f"patient {patient_id}: no profile to combine")
    names = profiles[0].names
    if any(p.names != names for p in profiles):
        raise ConfigError(
            f"patient {patient_id}: slides with different features cannot be combined",
            "make all profiles with one profiler, or give all slides the same columns",
        )
    table = np.stack([p.values for p in profiles])
    column = {name: table[:, i] for i, name in enumerate(names)}
    values = np.array([_combine(name, column) for name in names], np.float64)
    where = {name: i for i, name in enumerate(names)}
    if len(profiles) > 1 and where.keys() >= INPUTS:
        for name, value in ratios_of_sums(column).items():
            values[where[name]] = value
    grids = [p.squares for p in profiles if p.squares is not None]
    for inputs, call in _CALLS:
        if where.keys() >= set(inputs):
            for name, value in call({k: float(values[where[k]]) for k in inputs}).items():
                if name in where:
                    values[where[name]] = value
    valid = {group: any(p.valid.get(group, False) for p in profiles) for group in _groups(profiles)}
    if valid.keys() >= OF_FIELDS and where.keys() >= INPUTS:
        known = {f.group for f in FEATURES if f.name in where and not np.isnan(values[where[f.name]])}
        for group, enough in suffice(column).items():
            valid[group] |= enough and group in known
            if not valid[group]:
                values[[where[f.name] for f in FEATURES if f.group == group and f.name in where]] = np.nan
    return SemanticProfile(
        id=patient_id,
        names=names,
        values=values,
        valid=valid,
        source=" + ".join(sorted({p.source for p in profiles})),
        squares=pooled(grids) if len(grids) == len(profiles) else None,
        unlike_share=_unlike(profiles, column.get("area_tissue")),
    )


def _unlike(profiles: Sequence[SemanticProfile], area: Float64 | None) -> float | None:
    """The mean share of the slides that have one, weighted by their tissue."""
    shares = np.array([np.nan if p.unlike_share is None else p.unlike_share for p in profiles], np.float64)
    known = ~np.isnan(shares)
    if not known.any():
        return None
    weights = np.ones(len(shares)) if area is None else np.nan_to_num(area)
    return float(np.average(shares[known], weights=weights[known] if weights[known].sum() > 0 else None))


def _groups(profiles: Sequence[SemanticProfile]) -> list[str]:
    return list(dict.fromkeys(group for p in profiles for group in p.valid))


def _combine(name: str, column: dict[str, Float64]) -> float:
    values = column[name]
    known = ~np.isnan(values)
    if not known.any():
        return math.nan
    weight = BY_NAME[name].weight if name in BY_NAME else "area_tissue"
    if weight == "sum":
        return float(values[known].sum())
    area = np.nan_to_num(column.get(weight, np.zeros(len(values))))[known]
    if area.sum() <= 0:
        area = np.ones(int(known.sum()))
    return float(np.average(values[known], weights=area))
