"""The table of patients: what predictions.csv says about each, one row a patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kras_plugins.report.html import NONE, number
from kras_plugins.report.style import is_baseline, model_label, model_order

MOST = 5000
"""So many patients are listed; with more, a page becomes slow to open and the CSV is the better tool."""

_LABELS = {"0": "negative", "1": "positive", "0.0": "negative", "1.0": "positive"}


@dataclass(frozen=True, kw_only=True)
class PatientTable:
    """Headers and rows of the table, and how many patients there are in all; `numeric`: columns that hold scores."""

    headers: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int


def patient_table(rows: Sequence[Mapping[str, str]], models: Sequence[str]) -> PatientTable:
    """The patients of predictions.csv in its order, with the scores and calls of its first repeat.

    Where there are several repeats, a column says in how many of them the call was the same. Columns that are empty
    for everyone are left out, and so are baselines but histology alone, beside which the scores stand.
    """
    first, calls = _first_repeat(rows)
    scores = [m for m in model_order(dict.fromkeys(models)) if not is_baseline(m) or m == "histology_only"]
    repeated = max((len(c) for c in calls.values()), default=1) > 1
    headers = ["Patient", "Histology", "Site", "Label", *map(model_label, scores), "Call"]
    headers += ["Same call in repeats"] if repeated else []
    headers += ["Reason", "QC"]
    numeric = [h in {model_label(m) for m in scores} for h in headers]
    cells = [
        [
            row.get("patient_id") or "", row.get("histology") or "", row.get("site") or "",
            _LABELS.get(row.get("label") or "", "unknown"),
            *(number(float(row[m])) if row.get(m) else NONE for m in scores),
            (row.get("call") or "").replace("_", "-"),
            *([_same(calls[row.get("patient_id") or ""])] if repeated else []),
            row.get("reason") or "", row.get("qc") or "",
        ]
        for row in first
    ]  # fmt: skip
    kept = [i for i in range(len(headers)) if any(row[i] not in ("", NONE) for row in cells)]
    return PatientTable(
        headers=tuple(headers[i] for i in kept),
        numeric=tuple(numeric[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in cells[:MOST]),
        total=len(cells),
    )


def _first_repeat(rows: Sequence[Mapping[str, str]]) -> tuple[list[Mapping[str, str]], dict[str, list[str]]]:
    """Each patient's first row, and its calls in all repeats."""
    first: dict[str, Mapping[str, str]] = {}
    calls: dict[str, list[str]] = {}
    for row in rows:
        patient = row.get("patient_id") or ""
        first.setdefault(patient, row)
        calls.setdefault(patient, []).append(row.get("call") or "")
    return list(first.values()), calls


def _same(calls: Sequence[str]) -> str:
    return f"{calls.count(calls[0])} of {len(calls)}"
