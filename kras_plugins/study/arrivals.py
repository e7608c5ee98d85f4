"""Patients for monitoring: from training, from a call of `predict`, and as rows of monitor.csv."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from kras_plugins.evaluation.arrivals import COLORS, Arrival, Quality
from kras_plugins.files.spreadsheet import unguarded
from kras_plugins.learning.samples import verdict_of
from kras_plugins.study.audit import scope_reasons
from kras_plugins.study.outputs import damaged, write_table

if TYPE_CHECKING:
    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Float64
    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.learning.bundle import BundleScores
    from kras_plugins.learning.samples import Case

_TEXTS = ("patient_id", "when", "scanner", "quality", "histology")
_NUMBERS = ("mpp", *(f"stain_{color}" for color in COLORS), "fold_score", "score")
_FLAGS = ("in_scope", "in_training")
COLUMNS = (*_TEXTS, *_NUMBERS, *_FLAGS)
_FEATURE = "feature:"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of monitor.csv: a patient, and whether it was `in_training` and so is not new."""

    arrival: Arrival
    in_training: bool = False


def training_arrivals(patients: Sequence[Patient], cases: Sequence[Case], evaluated: Evaluated) -> list[Arrival]:
    """All patients of a training, with their out-of-fold scores in the first repeat; also those without a usable slide.

    `evaluated`: that of the cases, in their order.
    """
    logit = evaluated.ensemble.logit[0]
    made = _made(cases, logit, logit, evaluated.out_of_scope, {p.patient_id: len(p.slides) for p in patients})
    found = [(made.get(p.patient_id) or Arrival(patient_id=p.patient_id, quality="fail"), p.label) for p in patients]
    return [replace(arrival, label=None if label is None else bool(label)) for arrival, label in found]


def new_rows(
    patients: Sequence[Patient], cases: Sequence[Case], scores: BundleScores, seen: Collection[str], when: str
) -> list[Row]:
    """The patients of a call of `predict` at time `when`. `scores`: of the cases; `seen`: who was in training."""
    folds = scores.ensemble_by_fold
    each = [fold_of(c.patient.patient_id, len(folds)) for c in cases]
    of_fold = folds[each, np.arange(len(cases))]
    asked = {p.patient_id: len(p.slides) for p in patients}
    made = _made(cases, of_fold, scores.ensemble.strict, scope_reasons(cases), asked, when)
    return [
        Row(
            arrival=made.get(p.patient_id) or Arrival(patient_id=p.patient_id, when=when, quality="fail"),
            in_training=p.patient_id in seen,
        )
        for p in patients
    ]


def fold_of(patient_id: str, folds: int) -> int:
    """The fold whose models a new patient is compared by: chosen by the name alone, not by anything measured."""
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8], "big") % folds


def add_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write monitor.csv with these rows, which replace earlier ones of the same patients."""
    there = {row.arrival.patient_id: row for row in (read_rows(file) if file.is_file() else ())}
    merged = [*{**there, **{row.arrival.patient_id: row for row in rows}}.values()]
    names = dict.fromkeys(name for row in merged for name in row.arrival.features)
    write_table(file, [_cells(row, names) for row in merged], COLUMNS)


def read_rows(file: Path) -> list[Row]:
    """What `add_rows` wrote. Raises ConfigError if it is damaged."""
    try:
        with file.open(encoding="utf-8", newline="") as f:
            table = csv.DictReader(f)
            if tuple(table.fieldnames or ())[: len(COLUMNS)] != COLUMNS:
                raise damaged(file, "its columns are not those of patients for monitoring")
            return [_row({key: unguarded(cell) for key, cell in cells.items()}) for cells in table]
    except (OSError, TypeError, ValueError, AttributeError, csv.Error) as e:
        raise damaged(file, e) from e


def _made(
    cases: Sequence[Case],
    fold_score: Float64,
    score: Float64,
    outside: Sequence[str],
    asked: Mapping[str, int],
    when: str = "",
) -> dict[str, Arrival]:
    found = {}
    for i, case in enumerate(cases):
        qcs = [r.qc for r in case.results if r.qc is not None]
        stains = [qc.stain_od for qc in qcs if qc.stain_od is not None]
        red, green, blue = np.mean(stains, axis=0).tolist() if stains else (math.nan,) * 3
        aside = asked[case.patient.patient_id] > len(case.results)
        profile = case.sample.profile
        found[case.patient.patient_id] = Arrival(
            patient_id=case.patient.patient_id,
            when=when,
            scanner="+".join(sorted({qc.scanner for qc in qcs if qc.scanner})),
            mpp=float(np.median([qc.mpp for qc in qcs])) if qcs else None,
            stain=(red, green, blue) if stains else None,
            quality="fail" if aside else verdict_of(case.qc),
            in_scope=not outside[i],
            histology=case.patient.histology or "",
            fold_score=_known(fold_score[i]),
            score=_known(score[i]),
            features={} if profile is None else dict(zip(profile.names, profile.values.tolist(), strict=True)),
        )
    return found


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _cells(row: Row, names: Collection[str]) -> dict[str, Any]:
    a = row.arrival
    stain = a.stain or (None, None, None)
    features = {name: a.features.get(name, math.nan) for name in names}
    return {
        **{name: getattr(a, name) for name in _TEXTS},
        "mpp": a.mpp,
        **{f"stain_{color}": value for color, value in zip(COLORS, stain, strict=True)},
        "fold_score": a.fold_score,
        "score": a.score,
        "in_scope": int(a.in_scope),
        "in_training": int(row.in_training),
        **{f"{_FEATURE}{name}": None if math.isnan(value) else value for name, value in features.items()},
    }


def _row(cells: Mapping[str, str]) -> Row:
    if cells["quality"] not in get_args(Quality):
        raise ValueError(f"quality {cells['quality']!r}")
    number = {name: float(cells[name]) if cells[name] else None for name in _NUMBERS}
    red, green, blue = (number[f"stain_{color}"] for color in COLORS)
    features = {
        key.removeprefix(_FEATURE): float(cell) if cell else math.nan
        for key, cell in cells.items()
        if key.startswith(_FEATURE)
    }
    return Row(
        arrival=Arrival(
            **{name: cells[name] for name in _TEXTS},  # type: ignore[arg-type]
            mpp=number["mpp"],
            stain=None if red is None or green is None or blue is None else (red, green, blue),
            fold_score=number["fold_score"],
            score=number["score"],
            in_scope=cells["in_scope"] == "1",
            features=features,
        ),
        in_training=cells["in_training"] == "1",
    )
