"""How members become one score: `logit` (default), `probability`, `stacked` or `rank`.

What a fusion needs is fitted on the inner out-of-fold logits of an outer-training part and frozen; thresholds are
chosen on scores of the same fusion, fitted for each inner fold without that fold's patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from kras_plugins.errors import ConfigError
from kras_plugins.learning.ensemble import Fused
from kras_plugins.learning.fusion.logit import MeanLogit
from kras_plugins.learning.fusion.probability import MeanProbability
from kras_plugins.learning.fusion.rank import MeanRank
from kras_plugins.learning.fusion.stacked import Stacked

if TYPE_CHECKING:
    from kras_plugins.data import Float64

Kind = Literal["logit", "probability", "stacked", "rank"]


class Fusion(Protocol):
    """A fitted fusion: calibrated logits of members in, logits of the ensemble out; JSON values for the bundle."""

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """Fuse calibrated logits of equal shape, by member, NaN where one could not score."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What `load_fusion` needs beside the kind, as JSON values."""
        ...


_KINDS: Mapping[str, Any] = {"logit": MeanLogit, "probability": MeanProbability, "stacked": Stacked, "rank": MeanRank}


def fit_fusion(kind: Kind, logits: Mapping[str, Float64], labels: npt.ArrayLike) -> Fusion:
    """Fit on out-of-fold logits[patient] of each member and labels[patient]; patients without all members are left out.

    Raises ConfigError where a fusion that must be fitted has no complete patient of a class.
    """
    y = np.asarray(labels)
    complete = np.all(np.isfinite(np.stack(list(logits.values()))), axis=0)
    found = np.unique(y[complete] > 0)
    if kind in ("stacked", "rank") and len(found) < 2:
        lacking = "patient" if not len(found) else "negative patient" if found[0] else "positive patient"
        raise ConfigError(
            f"fusion {kind} cannot be fitted: a training part has no {lacking} with the scores of all members",
            "use --fusion logit, which is not fitted",
        )
    fitted: Fusion = _KINDS[kind].fit({name: values[complete] for name, values in logits.items()}, y[complete])
    return fitted


def out_of_fold(
    kind: Kind, logits: Mapping[str, Float64], labels: npt.ArrayLike, inner: npt.NDArray[np.int_]
) -> Float64:
    """Fused logits float64[patient], each from a fusion that was fitted without the patient's `inner` fold."""
    y = np.asarray(labels)
    fused = np.full(len(y), np.nan)
    for k in np.unique(inner):
        here = inner == k
        fusion = fit_fusion(kind, {name: values[~here] for name, values in logits.items()}, y[~here])
        fused[here] = fusion.fuse({name: values[here] for name, values in logits.items()}).strict
    return fused


def load_fusion(kind: Kind, values: Mapping[str, Any]) -> Fusion:
    """The fusion that `to_dict` described."""
    fusion: Fusion = _KINDS[kind].from_dict(values)
    return fusion
