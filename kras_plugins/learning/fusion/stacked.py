"""Fusion `stacked`: a logistic regression with a ridge on the members' out-of-fold logits (Wolpert 1992)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.learning.ensemble import Fused, fuse

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

RIDGE = 1.0
"""Penalty on half the sum of squared weights, beside the summed log-loss: a handful of weights, dozens of positives."""


@dataclass(frozen=True)
class Stacked:
    """logit = Σ weight × member's logit + intercept. Where a member is missing, `available` is the plain mean logit."""

    weights: Mapping[str, float]
    intercept: float

    @classmethod
    def fit(cls, logits: Mapping[str, Float64], labels: npt.NDArray[np.integer[Any]]) -> Stacked:
        """Fit on complete patients; the classes keep their frequencies, so that the result stays calibrated."""
        from sklearn.linear_model import LogisticRegression

        table = np.stack(list(logits.values()), axis=1)
        fitted = LogisticRegression(C=1 / RIDGE, tol=1e-8, max_iter=1000).fit(table, labels > 0)
        return cls(dict(zip(logits, fitted.coef_[0].tolist(), strict=True)), float(fitted.intercept_[0]))

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """The weighted sum, NaN where a member is missing; the mean of those there in `available`."""
        total = sum(self.weights[name] * values for name, values in logits.items())
        strict = np.asarray(total + self.intercept, np.float64)
        return Fused(strict=strict, available=np.where(np.isfinite(strict), strict, fuse(logits).available))

    def to_dict(self) -> dict[str, Any]:
        """Weights by member and the intercept."""
        return {"weights": dict(self.weights), "intercept": self.intercept}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Stacked:
        """The inverse of `to_dict`."""
        return cls(dict(values["weights"]), float(values["intercept"]))
