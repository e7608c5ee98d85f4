"""Patients assigned to folds, once for each seed, and how much the folds differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.folds_file import describe_folds, fold_rows
from kras_plugins.cohort.splits import Scheme, imbalance
from kras_plugins.cohort.splits import folds as assign
from kras_plugins.cohort.table import CohortTable, check_folds

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Dealt:
    """Folds of labeled patients: int64[repeat patient], counted from 0, their rows as a file, and JSON facts."""

    folds: npt.NDArray[np.int64]
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]


def deal(table: CohortTable, scheme: Scheme, folds: int, seeds: Sequence[int]) -> Dealt:
    """Assign patients to `folds` folds, balanced by label and histology, with one seed per repeat.

    Raises ConfigError if there are too few patients of a class, or no sites for scheme `site`.
    """
    check_folds(table, folds)
    y = np.array([patient.label for patient in table.patients], np.int8)
    strata = [patient.histology for patient in table.patients]
    sites = [patient.site for patient in table.patients]
    cube = np.stack([assign(y, strata, sites, folds, seed, scheme) for seed in seeds])
    facts = {
        "n": len(y),
        "n_positive": int(y.sum()),
        "imbalance": [imbalance(row, y, strata, folds) for row in cube],
        "folds": describe_folds(cube, y, strata, sites),
        "warnings": list(table.warnings),
    }
    return Dealt(folds=cube, rows=fold_rows(cube, [patient.patient_id for patient in table.patients]), facts=facts)
