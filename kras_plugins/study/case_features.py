"""What a case page says about features: areas and densities of the patient, and what moved each member's score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kras_plugins.evaluation.distribution import quantiles_of
from kras_plugins.report.case import Measure, Moved, measure_of

if TYPE_CHECKING:
    from kras_plugins.data import Explanation, SemanticProfile

SHOWN = ("area_tissue", "area_ce", "area_cs", "itil", "stil", "til_ta")
"""Areas of tissue, epithelium and stroma, and lymphocytes per mm² of epithelium, stroma and both."""
_MOST_MOVED = 8


def measures(profile: SemanticProfile | None, distribution: Mapping[str, Any] | None) -> tuple[Measure, ...]:
    """Areas and densities of the patient, as far as its profile has them by our names."""
    if profile is None:
        return ()
    return tuple(_measure(name, profile, distribution) for name in SHOWN if name in profile.names)


def moved(
    why: Explanation, profile: SemanticProfile | None, distribution: Mapping[str, Any] | None
) -> tuple[Moved, ...]:
    """The features that moved a member's score most, the strongest first; none for a member of tiles."""
    known = [
        (name, value) for name, value in zip(why.names, why.values.tolist(), strict=False)
        if math.isfinite(value) and value != 0
    ]  # fmt: skip
    strongest = sorted(known, key=lambda one: -abs(one[1]))[:_MOST_MOVED]
    return tuple(Moved(measure=_measure(name, profile, distribution), contribution=value) for name, value in strongest)


def _measure(name: str, profile: SemanticProfile | None, distribution: Mapping[str, Any] | None) -> Measure:
    return measure_of(name, None if profile is None else _value(name, profile), quantiles_of(distribution, name))


def _value(name: str, profile: SemanticProfile) -> float | None:
    """The value of a feature, or of a flag that a classifier made from a group's validity; None if it is missing."""
    kind, _, group = name.partition(":")
    if kind == "invalid" and group in profile.valid:
        return float(not profile.valid[group])
    value = float(profile.values[profile.names.index(name)]) if name in profile.names else math.nan
    return value if math.isfinite(value) else None
