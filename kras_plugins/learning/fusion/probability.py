"""Fusion `probability`: the mean of calibrated probabilities, equal weights; nothing is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.learning.ensemble import Fused, fuse

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
        from scipy.special import expit, logit

        mean = fuse({name: expit(values) for name, values in logits.items()})
        return Fused(strict=logit(mean.strict), available=logit(mean.available))

    def to_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeanProbability:
        """The same again."""
        return cls()
