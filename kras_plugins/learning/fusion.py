"""How members become one score: `logit` (default), `probability`, `stacked` or `rank`.

What a fusion needs is fitted on the inner out-of-fold logits of an outer-training part and frozen; thresholds are
chosen on scores of the same fusion, fitted for each inner fold without that fold's patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from kras_plugins.errors import ConfigError
from kras_plugins.learning.calibration import Platt, fit_platt

if TYPE_CHECKING:
    from kras_plugins.data import Float64

Kind = Literal["logit", "probability", "stacked", "rank"]

RIDGE = 1.0
"""Penalty of `stacked` on half the sum of squared weights, added to the summed log-loss: a handful of weights, dozens
of positives."""


@dataclass(frozen=True)
class Fused:
    """`strict`: NaN if any member is missing; `available`: the mean of the available ones, NaN only if there are none.

    Thresholds were set on `strict` and are valid only for it.
    """

    strict: Float64
    available: Float64


def fuse(logits: Mapping[str, Float64]) -> Fused:
    """The mean of calibrated logits of equal shape, NaN if a member could not score."""
    stack = np.stack(list(logits.values()))
    present = np.isfinite(stack)
    count = present.sum(axis=0)
    total = np.where(present, stack, 0.0).sum(axis=0)
    available = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return Fused(np.where(count == len(stack), available, np.nan), available)


class Fusion(Protocol):
    """A fitted fusion: calibrated logits of members in, logits of the ensemble out; JSON values for the bundle."""

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """Fuse calibrated logits of equal shape, by member, NaN if one could not score."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What `load_fusion` needs in addition to the kind, as JSON values."""
        ...


@dataclass(frozen=True)
class MeanLogit:
    """`logit`: the geometric mean of the members' odds; nothing is fitted."""

    @classmethod
    def fit(cls, logits: Mapping[str, Float64], labels: npt.NDArray[np.integer[Any]]) -> MeanLogit:
        """Nothing to fit."""
        return cls()

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """Mean logits."""
        return fuse(logits)

    def to_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeanLogit:
        """The same again."""
        return cls()


@dataclass(frozen=True)
class MeanProbability:
    """`probability`: the mean of calibrated probabilities; nothing is fitted.

    Compared with the mean of logits, a confident member weighs more if it says yes, and less if it says no.
    """

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


@dataclass(frozen=True)
class Stacked:
    """`stacked`: a logistic regression with a ridge on the members' out-of-fold logits (Wolpert 1992).

    logit = Σ weight × member's logit + intercept. If a member is missing, `available` is the plain mean logit.
    """

    weights: Mapping[str, float]
    intercept: float

    @classmethod
    def fit(cls, logits: Mapping[str, Float64], labels: npt.NDArray[np.integer[Any]]) -> Stacked:
        """Fit on complete patients; classes are not reweighted, so that the result stays calibrated."""
        from sklearn.linear_model import LogisticRegression

        table = np.stack(list(logits.values()), axis=1)
        fitted = LogisticRegression(C=1 / RIDGE, tol=1e-8, max_iter=1000).fit(table, labels > 0)
        return cls(dict(zip(logits, fitted.coef_[0].tolist(), strict=True)), float(fitted.intercept_[0]))

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """The weighted sum, NaN if a member is missing; in `available` the mean of the others."""
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


@dataclass(frozen=True)
class MeanRank:
    """`rank`: the mean of each member's rank among frozen training scores, calibrated.

    `reference[member]`: ascending training logits; `line`: from the logit of the mean rank to a calibrated logit. Ranks
    within the scored cohort would give a single patient no score at all; in a frozen reference a patient's rank does
    not depend on the others who are scored.
    """

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
        """The share of the reference below a value, ties counted half, kept away from 0 and 1; NaN stays NaN."""
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


_KINDS: Mapping[str, Any] = {"logit": MeanLogit, "probability": MeanProbability, "stacked": Stacked, "rank": MeanRank}


def fit_fusion(
    kind: Kind, logits: Mapping[str, Float64], labels: npt.ArrayLike, in_scope: npt.ArrayLike | None = None
) -> Fusion:
    """Fit on out-of-fold logits[patient] of each member and labels[patient].

    Patients without all members are excluded, and those out of scope (`in_scope`: bool[patient], all if None). Raises
    ConfigError if a fusion that must be fitted has no complete patient of a class.
    """
    y = np.asarray(labels)
    complete = np.all(np.isfinite(np.stack(list(logits.values()))), axis=0)
    complete &= True if in_scope is None else np.asarray(in_scope, bool)
    found = np.unique(y[complete] > 0)
    if kind in ("stacked", "rank") and len(found) < 2:
        lacking = "patient" if not len(found) else "negative patient" if found[0] else "positive patient"
        raise ConfigError(
            f"fusion {kind} cannot be fitted: a training part has no {lacking} in scope with the scores of all members",
            "use --fusion logit, which is not fitted",
        )
    fitted: Fusion = _KINDS[kind].fit({name: values[complete] for name, values in logits.items()}, y[complete])
    return fitted


def out_of_fold(
    kind: Kind,
    logits: Mapping[str, Float64],
    labels: npt.ArrayLike,
    inner: npt.NDArray[np.int_],
    in_scope: npt.ArrayLike | None = None,
) -> Float64:
    """Fused logits float64[patient], each from a fusion that was fitted without the patient's `inner` fold."""
    y = np.asarray(labels)
    scope = np.ones(len(y), bool) if in_scope is None else np.asarray(in_scope, bool)
    fused = np.full(len(y), np.nan)
    for k in np.unique(inner):
        here = inner == k
        fusion = fit_fusion(kind, {name: values[~here] for name, values in logits.items()}, y[~here], scope[~here])
        fused[here] = fusion.fuse({name: values[here] for name, values in logits.items()}).strict
    return fused


def load_fusion(kind: Kind, values: Mapping[str, Any]) -> Fusion:
    """The fusion that `to_dict` describes."""
    fusion: Fusion = _KINDS[kind].from_dict(values)
    return fusion
