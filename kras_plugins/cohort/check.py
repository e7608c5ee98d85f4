"""What breaks a study and can be seen in its cohort table, before any slide is processed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kras_plugins.cohort.barcodes import PRIMARY, parse_barcode, parse_slide_name
from kras_plugins.cohort.confounding import (
    Auroc,
    Patients,
    covariate_findings,
    histology_findings,
    labelled_patients,
    meaning_findings,
    site_findings,
)
from kras_plugins.cohort.findings import Finding
from kras_plugins.cohort.histology import WordMap
from kras_plugins.cohort.number_columns import floats
from kras_plugins.cohort.numbers import number, short
from kras_plugins.cohort.specimens import specimen_findings
from kras_plugins.cohort.table import COLUMNS, OUTCOME, Row, problems, read_rows
from kras_plugins.errors import ConfigError
from kras_plugins.files.spreadsheet import guarded

POSITIVES_PER_FOLD = 5
"""With fewer positives in a fold than this, its AUROC is not informative."""
FOLLOWS = 0.99
"""Rows follow the label where this share of pairs of a positive and a negative of one histology is in one order."""
BY_ACCIDENT = 1e-3
"""An order of the rows that chance produces more often than this is not a finding."""


def check_tables(
    paths: Sequence[Path], target: str, folds: int, histology_auroc: Auroc, histologies: WordMap | None = None
) -> list[Finding]:
    """All findings in some cohort tables, each named if there are several, and those of all together.

    `histologies`: what the user's words for a histology mean.
    """
    found: list[Finding] = []
    for path in paths:
        name = str(path)  # the table's own errors begin with it already
        for f in check_table(path, target, folds, histology_auroc, histologies):
            named = len(paths) == 1 or f.what.startswith(name)
            found.append(f if named else replace(f, what=f"{name}: {f.what}"))
    return found + check_across(paths)


def check_table(
    path: Path, target: str, folds: int, histology_auroc: Auroc, histologies: WordMap | None = None
) -> list[Finding]:
    """All findings in a cohort table; raises ConfigError if the file is not one."""
    found = [Finding(severity="error", what=e.message, do=e.hint) for e in problems(path, target, histologies)]
    rows = read_rows(path, ["patient_id", "slide_id", target], histologies)
    found += _paths(rows)
    found += _ids(rows)
    found += _several_ids(rows)
    found += _run_by_spreadsheets(rows)
    found += _names(rows)
    people = labelled_patients(rows, target)
    unknown = len({row.get("patient_id") for row in rows}) - len(people.ids)
    if unknown:
        what = f"{unknown} patients without one known {target} are set aside, never taken as negative"
        found.append(Finding(severity="note", what=what))
    found += _odd_numbers(rows, target)
    found += _numbers(people, target, folds)
    found += specimen_findings(people.ids, _cells(people, [name for name in rows[0].values if name != target]))
    if 0 < people.labels.sum() < len(people.labels):
        found += _order(rows, target)
        found += meaning_findings(people, histologies or {})
        found += histology_findings(people, target, histology_auroc)
        found += site_findings(people, target, folds)
        found += covariate_findings(people, list(rows[0].values), target)
    return found


def table_leaks(path: Path, target: str) -> list[Finding]:
    """Those findings of `check_table` that would let a study learn the label: one patient twice, rows in its order."""
    rows = read_rows(path, ["patient_id", target])
    return [*_several_ids(rows), *_order(rows, target)]


def check_across(paths: Sequence[Path]) -> list[Finding]:
    """Patients who are in several cohort files: an external cohort must share none with the training cohort."""
    of: dict[str, dict[str, str]] = {}
    for path in paths:
        for row in read_rows(path, ["patient_id"]):
            of.setdefault(_person(row.get("patient_id")), {})[str(path)] = row.get("patient_id")
    both = tuple(f"{next(iter(ids.values()))} ({', '.join(ids)})" for _, ids in sorted(of.items()) if len(ids) > 1)
    if not both:
        return []
    return [
        Finding(
            severity="error",
            what="patients in several cohorts would be trained on and tested",
            who=both,
            do="leave them out of all cohorts but one",
        )
    ]


def _paths(rows: Sequence[Row]) -> Iterator[Finding]:
    without = tuple(row.get("slide_id") for row in rows if not row.get("path"))
    if without and len(without) < len(rows):
        yield Finding(severity="error", what="slides without a path", who=without, do="name each slide's file")
    elif without:
        yield Finding(severity="note", what="no slide has a path: only features made elsewhere can be used")


def _ids(rows: Sequence[Row]) -> Iterator[Finding]:
    """One patient on two sides: in several splits or cohorts."""
    for column in ("split", "cohort"):
        of: dict[str, set[str]] = {}
        for row in rows:
            if row.get(column):
                of.setdefault(row.get("patient_id"), set()).add(row.get(column))
        both = tuple(f"{p} ({' and '.join(sorted(v))})" for p, v in sorted(of.items()) if len(v) > 1)
        if both:
            yield Finding(
                severity="error",
                what=f"patients in several {column}s would be trained on and tested",
                who=both,
                do=f"give each patient one {column}",
            )


def _several_ids(rows: Sequence[Row]) -> Iterator[Finding]:
    """One patient under several ids, which may come to lie on two sides."""
    ids: dict[str, set[str]] = {}
    for row in rows:
        ids.setdefault(_person(row.get("patient_id")), set()).add(row.get("patient_id"))
    several = tuple(" and ".join(sorted(names)) for names in ids.values() if len(names) > 1)
    if several:
        yield Finding(
            severity="error",
            what="one patient under several ids could lie on both sides of a split",
            who=several,
            do="write each patient's id one way; for TCGA, as the patient part of the barcode, TCGA-xx-xxxx",
        )


def _run_by_spreadsheets(rows: Sequence[Row]) -> Iterator[Finding]:
    ids = dict.fromkeys(row.get(column) for row in rows for column in ("patient_id", "slide_id"))
    guarded_ids = tuple(one for one in ids if guarded(one) != one)
    if guarded_ids:
        yield Finding(
            severity="warning",
            what="ids that a spreadsheet would run as a formula get a leading apostrophe in every CSV of a study",
            who=guarded_ids,
            do="rename them: tables that are joined outside of kras have them without it",
        )


def _person(patient: str) -> str:
    """The patient's part of a TCGA barcode, any other id as it is; case is ignored."""
    try:
        return parse_barcode(patient).patient.upper()
    except ConfigError:
        return patient.upper()


def _order(rows: Sequence[Row], target: str) -> Iterator[Finding]:
    """Whether the patients are in the order of the label: then anything that numbers them, such as an id, reveals it.

    Within histologies, since tables of two histologies, one after the other, are neither an accident nor a leak.
    """
    patients: dict[str, Row] = {}
    for row in rows:
        patients.setdefault(row.get("patient_id"), row)
    labels: dict[str, list[int]] = {}
    for row in patients.values():
        label = number(row.get(target))
        if label in (0.0, 1.0):
            labels.setdefault(row.get("histology"), []).append(int(label))
    after, pairs, log_orders = 0, 0, 0.0
    for some in labels.values():
        n, positive = len(some), sum(some)
        after += sum(label * some[:i].count(0) for i, label in enumerate(some))
        pairs += positive * (n - positive)
        log_orders += math.log(math.comb(n, positive))
    if not pairs or 2 * math.exp(-log_orders) > BY_ACCIDENT:
        return
    share = max(after, pairs - after) / pairs
    if share >= FOLLOWS:
        yield Finding(
            severity="warning",
            what=f"the rows are sorted by {target}{'' if share == 1 else ', except for a few'}: ids, file names or "
            "times of such a list may reveal it",
            do="make sure that no column, path or feature was numbered along this list",
        )


def _odd_numbers(rows: Sequence[Row], target: str) -> Iterator[Finding]:
    """Cells that keep a free column of numbers from being one."""
    free = (name for name in rows[0].values if name not in {*COLUMNS, target} and not name.startswith(OUTCOME))
    for column in free:
        found = floats([row.get(column) for row in rows])
        if found.odd and found.numeric and found.measured:
            yield Finding(
                severity="warning",
                what=f"column {column} contains numbers, except in {len(found.odd)} cells",
                who=tuple(f"line {rows[i].line}: {short(rows[i].get(column))}" for i in found.odd),
                do="correct or empty them: `kras run` compares no column that is half numbers, and may refuse it",
            )


def _cells(people: Patients, columns: Sequence[str]) -> dict[str, list[str]]:
    """Each patient's cell by column, those of several slides joined by `+` if they differ."""
    return {c: ["+".join(sorted({row.get(c) for row in own} - {""})) for own in people.rows] for c in columns}


def _names(rows: Sequence[Row]) -> Iterator[Finding]:
    """Where TCGA slides' names contradict the table: another patient, no tumor, frozen beside diagnostic."""
    named = [(row, parse_slide_name(Path(row.get("path")).name or row.get("slide_id"))) for row in rows]
    tcga = [(row, name) for row, name in named if name is not None]
    others = tuple(
        f"{row.get('slide_id')} (row: {row.get('patient_id')})"
        for row, name in tcga
        if not row.get("patient_id").upper().startswith(name.patient)
    )
    if others:
        yield Finding(severity="error", what="slides named after another patient", who=others, do="correct the rows")
    normal = tuple(row.get("slide_id") for row, name in tcga if name.sample_type != PRIMARY)
    if normal:
        yield Finding(
            severity="error",
            what="slides of normal tissue, or not of a primary tumor",
            who=normal,
            do="leave them out: the label is of the primary tumor (sample type 01)",
        )
    frozen = tuple(row.get("slide_id") for row, name in tcga if name.kind != "DX")
    if frozen:
        mixed = len(frozen) < len(tcga)
        yield Finding(
            severity="warning",
            what="frozen sections mixed with diagnostic (DX) slides" if mixed else "all slides are frozen sections",
            who=frozen,
            do="keep DX alone: frozen tissue looks different, and who has which kind depends on the site",
        )


def _numbers(people: Patients, target: str, folds: int) -> Iterator[Finding]:
    n, positive = len(people.labels), int(people.labels.sum())
    for count, name in ((positive, "positive"), (n - positive, "negative")):
        if count < folds:
            yield Finding(
                severity="error",
                what=f"{count} of {n} labeled patients are {name} for {target}: too few for {folds} folds",
                do=f"use at most {count} folds" if count > 1 else f"add {name} patients",
            )
        elif count < folds * POSITIVES_PER_FOLD:
            yield Finding(
                severity="warning",
                what=f"{count} {name} patients are {count / folds:.1f} per fold: intervals will be wide",
                do=f"use fewer folds, --repeats, or more patients; {POSITIVES_PER_FOLD} a fold are already few",
            )
    yield Finding(severity="note", what=f"{n} labeled patients, {positive} positive for {target}")
