"""The table of patients: scores and call of each, one row per patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kras_plugins.report.html import NONE, number
from kras_plugins.report.style import is_baseline, model_label, model_order

if TYPE_CHECKING:
    from kras_plugins.evaluation.rows import PatientScores

MOST = 5000
"""At most this many patients are listed: with more, a page is slow to open and the CSV is the better tool."""

_LABELS = {0: "negative", 1: "positive", None: "unknown"}


@dataclass(frozen=True, kw_only=True)
class PatientTable:
    """Headers and rows of the table, and how many patients there are in all; `numeric`: columns that contain scores."""

    headers: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int


def patient_table(rows: Sequence[PatientScores], models: Sequence[str]) -> PatientTable:
    """The patients in the order of their rows, with the scores and calls of the first repeat.

    Where there are several repeats, a column says in how many of them the call was the same. Columns that are empty
    for everyone are left out, and so are all baselines except histology alone, with which the scores are compared.
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
            row.patient_id, row.histology, row.site, _LABELS[row.label],
            *(NONE if (score := row.score(m)) is None else number(score) for m in scores),
            row.call.replace("_", "-"),
            *([_same(calls[row.patient_id])] if repeated else []),
            row.reason, row.qc,
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


def _first_repeat(rows: Sequence[PatientScores]) -> tuple[list[PatientScores], dict[str, list[str]]]:
    """Each patient's first row, and its calls in all repeats."""
    first: dict[str, PatientScores] = {}
    calls: dict[str, list[str]] = {}
    for row in rows:
        first.setdefault(row.patient_id, row)
        calls.setdefault(row.patient_id, []).append(row.call)
    return list(first.values()), calls


def _same(calls: Sequence[str]) -> str:
    return f"{calls.count(calls[0])} of {len(calls)}"
