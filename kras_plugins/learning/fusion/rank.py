"""Fusion `rank`: the mean of each member's rank among frozen training scores, calibrated.

Ranks within the cohort that is scored would give one patient alone no score at all; among a frozen reference a
patient's rank depends on nobody else who is scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.learning.calibration import Platt, fit_platt
from kras_plugins.learning.ensemble import Fused, fuse

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64


@dataclass(frozen=True)
class MeanRank:
    """`reference[member]`: ascending training logits; `line`: from the logit of the mean rank to a calibrated logit."""

    reference: Mapping[str, Float64]
    line: Platt

    @classmethod
    def fit(cls, logits: Mapping[str, Float64], labels: npt.NDArray[np.integer[Any]]) -> MeanRank:
        """Freeze the reference of complete patients and fit Platt's line to their own mean ranks."""
        unfitted = cls({name: np.sort(values) for name, values in logits.items()}, Platt(1.0, 0.0))
        return cls(unfitted.reference, fit_platt(unfitted.fuse(logits).strict, labels))

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """Calibrated logits of the mean rank."""
        from scipy.special import logit

        mean = fuse({name: self._rank(name, values) for name, values in logits.items()})
        return Fused(strict=self.line.logit(logit(mean.strict)), available=self.line.logit(logit(mean.available)))

    def _rank(self, name: str, values: Float64) -> Float64:
        """The share of the reference below a value, equal ones counted half, kept off 0 and 1; NaN stays NaN."""
        reference = self.reference[name]
        below, up_to = (np.searchsorted(reference, values, side) for side in ("left", "right"))
        return np.where(np.isfinite(values), ((below + up_to) / 2 + 0.5) / (len(reference) + 1), np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Reference and line."""
        return {
            "reference": {name: values.tolist() for name, values in self.reference.items()},
            "line": asdict(self.line),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeanRank:
        """The inverse of `to_dict`."""
        return cls(
            {name: np.asarray(reference, np.float64) for name, reference in values["reference"].items()},
            Platt(**values["line"]),
        )
