"""How many patients have a KRAS driver mutation, if the cohort states it; the target is only one of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kras_plugins.cohort.numbers import number

if TYPE_CHECKING:
    from kras_plugins.cohort.table import Patient

COLUMN = "kras_driver"
"""The cohort's column of 0 and 1, as `kras cohort labels` writes it."""


def drivers(patients: Sequence[Patient], target: str) -> dict[str, int] | None:
    """`n`: patients for whom it is known; `n_positive`: those who have one; None if the cohort has no such column."""
    if target == COLUMN:
        known = [patient.label for patient in patients if patient.label is not None]
    else:
        found = [number(patient.covariates.get(COLUMN, "")) for patient in patients]
        known = [int(value) for value in found if value in (0, 1)]
    return {"n": len(known), "n_positive": sum(known)} if known else None
