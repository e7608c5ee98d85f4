"""Data of the monitoring charts: the middle half of values and shares of categories, of a window and of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.arrivals import COLORS, absent
from kras_plugins.evaluation.drift import Binned, quantile

if TYPE_CHECKING:
    from kras_plugins.evaluation.arrivals import Arrival


def series(name: str, arrivals: Sequence[Arrival]) -> dict[str, Any]:
    """A window as JSON values: `score`, `mpp` and `stain` have `n`, `q25`, `median`, `q75`, None without any
    value; `scanner` and `quality` count patients, with "" for unknown."""
    return {
        "window": name,
        "n": len(arrivals),
        "not_assessable": sum(not a.assessable for a in arrivals),
        "score": _quartiles([a.fold_score for a in arrivals if a.in_scope]),
        "mpp": _quartiles([a.mpp for a in arrivals]),
        "stain": [_quartiles([None if a.stain is None else a.stain[i] for a in arrivals]) for i in range(len(COLORS))],
        "scanner": dict(Counter(a.scanner for a in arrivals).most_common()),
        "quality": dict(Counter(a.quality for a in arrivals).most_common()),
    }


def training_series(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same for training, from the frozen values; None if a bundle cannot be compared with."""
    if "quality" in absent(facts):
        return None
    kept = facts["reference"]
    return {
        "window": "training",
        "n": kept["n"],
        "not_assessable": kept["n"] - kept["assessable"],
        "score": _kept(kept["score"]),
        "mpp": _kept(kept["mpp"]),
        "stain": [_kept(channel) for channel in kept["stain"]],
        "scanner": kept["scanner"],
        "quality": kept["quality"],
    }


def _quartiles(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [v for v in values if v is not None]
    if not known:
        return None
    low, middle, high = np.percentile(known, [25, 50, 75]).tolist()
    return {"n": len(known), "q25": low, "median": middle, "q75": high}


def _kept(counted: Mapping[str, Any]) -> dict[str, float] | None:
    found = Binned(edges=tuple(counted["edges"]), counts=tuple(counted["counts"]))
    if not found.n:
        return None
    return {
        "n": found.n,
        "q25": quantile(found, 0.25),
        "median": quantile(found, 0.5),
        "q75": quantile(found, 0.75),
    }
