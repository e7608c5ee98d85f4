"""Patients to look at: for every kind of true and false call, those in the middle of their kind, not its extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.evaluation.rows import PatientScores

Basis = Literal["calls", "quarters"]

MOST = 2
"""Patients shown per kind."""
_HIGH, _LOW = "rule_in", "rule_out"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Patients in scope with one label whose score is `high` or not: how many there are, and the typical ones."""

    positive: bool
    high: bool
    count: int
    typical: tuple[PatientScores, ...]

    @property
    def true(self) -> bool:
        """Whether the score agrees with the label."""
        return self.positive == self.high


def typical_calls(rows: Sequence[PatientScores]) -> tuple[Basis, tuple[Kind, ...]]:
    """True and false rule-ins, then false and true rule-outs, each with up to two typical patients.

    Of the first repeat, in scope, with a label and a score of every member. A score is high if the patient is ruled in
    and low if ruled out. If nobody is either, since no thresholds are set, it is high in the highest quarter of scores
    and low in the lowest; the first value states which applies. Typical patients are those whose ensemble score is
    nearest to the median of their kind, ties in the order of their ids.
    """
    known = [r for r in rows if r.repeat in (None, 1) and r.in_scope and r.label is not None]
    every = max((len(r.members) for r in known), default=0)
    assessable = [r for r in known if r.ensemble is not None and len(r.members) == every]
    called = [r for r in assessable if r.call in (_HIGH, _LOW)]
    basis: Basis = "calls" if called else "quarters"
    high, low = ([r for r in called if r.call == call] for call in (_HIGH, _LOW))
    if not called and assessable:
        below, above = np.quantile([_score(r) for r in assessable], (0.25, 0.75))
        high, low = [r for r in assessable if _score(r) > above], [r for r in assessable if _score(r) < below]
    return basis, tuple(
        _kind([r for r in some if bool(r.label) == positive], positive=positive, high=some is high)
        for some, positive in ((high, True), (high, False), (low, True), (low, False))
    )


def _kind(own: Sequence[PatientScores], *, positive: bool, high: bool) -> Kind:
    middle = float(np.median([_score(r) for r in own])) if own else 0.0
    # Rounded, so that equal distances above and below are a tie.
    nearest = sorted(own, key=lambda r: (round(abs(_score(r) - middle), 12), r.patient_id))
    return Kind(positive=positive, high=high, count=len(own), typical=tuple(nearest[:MOST]))


def _score(row: PatientScores) -> float:
    assert row.ensemble is not None
    return row.ensemble
