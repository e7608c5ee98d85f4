"""One model's scores as evaluation needs them, with the thresholds that were fixed before each patient was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Calibrated logits of one model, float64[repeat patient], NaN if it could not score a patient.

    `thresholds`: logits by rule, float64[repeat patient], each set without that patient; empty if none apply.
    `provenance`: by rule, what its threshold means and what it was chosen on. `rank`: what to rank by instead of the
    logit (baselines rank by constants). `raw`: uncalibrated scores; `slopes`: Platt's slope by repeat and fold.
    `in_fold`: what to rank by within a fold if that is not `ranking`, because a calibration found nothing there and
    made the logit constant. `learned`: by repeat and fold, whether training found anything; None if that was not
    recorded. `fitted`: whether the ranking used labels. `by_fold`: float64[fold patient], logits of each fold model if
    all of them scored every patient (an external cohort). `inner`: float64[repeat fold patient], logits of each fold's
    training part from models that saw neither that fold nor the patient, NaN for the fold's own patients.
    """

    logit: Float64
    thresholds: Mapping[str, Float64] = field(default_factory=dict)
    rank: Float64 | None = None
    raw: Float64 | None = None
    in_fold: Float64 | None = None
    learned: tuple[tuple[bool, ...], ...] | None = None
    fitted: bool = True
    slopes: tuple[tuple[float, ...], ...] | None = None
    by_fold: Float64 | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    inner: Float64 | None = None

    @property
    def ranking(self) -> Float64:
        """float64[repeat patient] to order patients by."""
        return self.logit if self.rank is None else self.rank

    @property
    def within_folds(self) -> Float64:
        """float64[repeat patient] to order patients of one fold by."""
        return self.ranking if self.in_fold is None else self.in_fold

    @property
    def found_something(self) -> bool:
        """Whether training found anything in most folds, as far as known."""
        return self.learned is None or bool(np.mean(self.learned) > 0.5)

    @property
    def scored(self) -> Bool:
        """bool[patient], those with a logit in every repeat."""
        result: Bool = np.all(np.isfinite(self.logit), axis=0)
        return result

    def of(self, patients: Bool) -> Scores:
        """The same for a subset, bool[patient]."""

        def cut(x: Float64 | None) -> Float64 | None:
            return None if x is None else x[..., patients]

        return Scores(
            logit=self.logit[:, patients],
            thresholds={rule: x[:, patients] for rule, x in self.thresholds.items()},
            rank=cut(self.rank),
            raw=cut(self.raw),
            in_fold=cut(self.in_fold),
            learned=self.learned,
            fitted=self.fitted,
            slopes=self.slopes,
            by_fold=cut(self.by_fold),
            provenance=self.provenance,
            inner=cut(self.inner),
        )
