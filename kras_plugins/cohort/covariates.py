"""Covariates of patients from another table, for evaluation only: no reader or model ever sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kras_plugins.cohort.barcodes import parse_barcode
from kras_plugins.cohort.delimited import read_rows_of
from kras_plugins.cohort.numbers import shown
from kras_plugins.cohort.table import Patient
from kras_plugins.errors import ConfigError
from kras_plugins.files.regular import TABLE

KEYS = ("patient_id", "patient", "bcr_patient_barcode", "case_id", "case_submitter_id", "submitter_id", "sample_id")
"""Columns that may name the patient, the first that matches any patient; case is ignored."""
_FIELDS = ("site", "histology", "specimen", "kras_test")


def join_covariates(patients: Sequence[Patient], file: Path, target: str = "") -> tuple[tuple[Patient, ...], list[str]]:
    """Patients with the columns of a table added to their own, and what the user should know.

    The table is separated by tabs, commas or semicolons, gzipped or not. Rows are found by patient_id or another of
    KEYS; of a TCGA barcode, the patient part counts. Columns that a patient has already are left as they are, and one
    named like the `target` is left out; several rows of one patient are joined by `+` if they differ. Raises
    ConfigError if the file cannot be read, or matches no patient.
    """
    header, rows = _read(file)
    wanted = {_key(p.patient_id) for p in patients}
    lower = {name.lower(): name for name in header}
    keys = [lower[k] for k in KEYS if k in lower]
    key = next((k for k in keys if any(_key(row[k]) in wanted for row in rows)), None)
    if key is None:
        tried = f"its columns {', '.join(keys)}" if keys else f"it has {shown(header)}"
        raise ConfigError(
            f"{file}: no row belongs to a patient of the cohort; {tried}", "add a column patient_id as in the cohort"
        )
    known = {name.lower() for p in patients for name in p.covariates} | {*_FIELDS, *KEYS, target.lower()}
    taken = [name for name in header if name.lower() not in known]
    by_patient: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_patient.setdefault(_key(row[key]), []).append(row)
    joined = tuple(
        replace(p, covariates={**p.covariates, **_values(by_patient.get(_key(p.patient_id), []), taken)})
        for p in patients
    )
    found = sum(_key(p.patient_id) in by_patient for p in patients)
    notes = [f"covariates from {file.name}: {', '.join(taken)}, for {found} of {len(patients)} patients"]
    return joined, notes


def _values(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> dict[str, str]:
    return {c: "+".join(sorted({row[c] for row in rows if row[c]})) for c in columns}


def _key(text: str) -> str:
    return parse_barcode(text).patient if text else ""


def _read(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    rows = read_rows_of(file, most=TABLE)
    header = [cell.strip() for cell in next(rows)[1]]
    twice = [name for name, n in Counter(header).items() if n > 1]
    if twice:
        raise ConfigError(f"{file}: column {twice[0]!r} appears twice", "keep one")
    found = [dict(zip(header, (cell.strip() for cell in cells), strict=True)) for _, cells in rows]
    if not found:
        raise ConfigError(f"{file} has no rows", "it needs a header and one row per patient")
    return header, found
