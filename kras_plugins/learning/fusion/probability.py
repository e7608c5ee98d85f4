"""Fusion `probability`: the mean of calibrated probabilities, equal weights; nothing is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.learning.ensemble import Fused

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64


@dataclass(frozen=True)
class MeanProbability:
    """A confident member weighs more than in the mean of logits where it says yes, and less where it says no."""

    @classmethod
    def fit(cls, logits: Mapping[str, Float64], labels: npt.NDArray[np.integer[Any]]) -> MeanProbability:
        """Nothing to fit."""
        return cls()

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """Logits of the mean probabilities."""
        from scipy.special import log_expit

        stack = np.stack(list(logits.values()))
        present = np.isfinite(stack)
        # The log of Σp over Σ(1-p): a mean that rounds to 1 would have no logit.
        yes, no = (np.logaddexp.reduce(np.where(present, log_expit(s), -np.inf)) for s in (stack, -stack))
        mean = np.subtract(yes, no, out=np.full(yes.shape, np.nan), where=present.any(axis=0))
        return Fused(strict=np.where(present.all(axis=0), mean, np.nan), available=mean)

    def to_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeanProbability:
        """The same again."""
        return cls()
