"""What is known about patients besides their scores: the cohort's columns, a table of covariates, levels of both."""

from __future__ import annotations

import csv
import gzip
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from recomputed.files import Study, read_csv

UNKNOWN = {"", "na", "n/a", "#n/a", "<na>", "nan", "none", "null", "unknown", "ns"}
KEYS = ("patient_id", "patient", "bcr_patient_barcode", "case_id", "case_submitter_id", "submitter_id", "sample_id")
FEWEST_NUMBERS = 5
MOST_LEVELS = 12
"""A column with more levels that is not a known field gives no subgroups unless requested."""

FIELDS = ("histology", "specimen", "kras_test", "site")
SPECIMEN = re.compile(
    r"specimen|(specimen|sample)_(type|kind|procedure)|procedure(_type)?|method_of_(sample|specimen)_procurement"
    r"|biopsy|resection|biopsy_or_(biopsy|resection)|resection_or_(biopsy|resection)"
    r"|(collection|sampling|procurement)_method"
)
ASSAY = re.compile(
    r"(kras|ngs|dna|gene|molecular|sequencing|mutation)_(test|assay|panel|method|platform)|assay|panel|ngs|sequencer"
)
"""Names of columns for how tissue was taken, and for the assay."""
SPECIMENS = {
    "cytology": r"cytolog|aspirat|\bfna\b|\btbna\b|cell ?block|effusion|brush|washing|lavage",
    "biopsy": r"biops|\bcore\b|needle|\b(cnb|tbb|tblb|bx)\b",
    "resection": r"resect|resekt|surg|(lob|segment|pneumon|metastas)ectom|wedge|excision",
}
TSO500 = r"\b(tso|trusight[- ]?oncology)[- ]?500"

Columns = dict[str, list[str]]


def read_columns(study: Study, cohort: Path | None, covariates: Path | None) -> Columns:
    """Texts by column, one per patient: those of predictions.csv, of the cohort, of the covariates, and the resolution.

    Values of a patient's rows that differ are joined by `+`. Without a cohort only site and histology are known.
    """
    found: Columns = {"site": study.site, "histology": [row["histology"] for row in study.patients]}
    tables = [(read_csv(cohort), False)] if cohort else []
    tables += [(_delimited(covariates), True)] if covariates else []
    for rows, by_barcode in tables:
        key = _key(rows, study.ids, by_barcode)
        own = {patient: [row for row in rows if _same(row[key], patient, by_barcode)] for patient in study.ids}
        for name in rows[0]:
            if name.lower() not in {known.lower() for known in found}:
                found[name] = ["+".join(sorted({row[name] for row in own[p] if row[name]})) for p in study.ids]
    slides = study.manifest.get("slides", {})
    measured = [
        {f"{slides[s]['mpp']:.4g}" for s in row["slides"].split() if slides.get(s, {}).get("qc") is not None}
        for row in study.patients
    ]
    if any(measured) and "mpp" not in found:
        found["mpp"] = ["+".join(sorted(own)) for own in measured]
    return found


def _delimited(file: Path) -> list[dict[str, str]]:
    """Rows of a table separated by tabs, semicolons or commas, gzipped or not."""
    data = file.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    delimiter = next((d for d in "\t;" if d in first), ",")
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    return [{k.strip(): (v or "").strip() for k, v in row.items()} for row in rows]


def _key(rows: Sequence[dict[str, str]], ids: Sequence[str], by_barcode: bool) -> str:
    lower = {name.lower(): name for name in rows[0]}
    for name in (lower[key] for key in KEYS if key in lower):
        if any(_same(row[name], patient, by_barcode) for row in rows for patient in ids):
            return name
    raise SystemExit("no row of the table is of a patient of predictions.csv")


def _same(cell: str, patient: str, by_barcode: bool) -> bool:
    """Whether a cell names the patient; for TCGA barcodes the first twelve characters count."""
    barcode = r"TCGA-\w\w-\w{4}"
    if by_barcode and re.match(barcode, cell, re.IGNORECASE) and re.match(barcode, patient, re.IGNORECASE):
        return cell[:12].upper() == patient[:12].upper()
    return cell == patient


def texts(columns: Columns, name: str) -> list[str]:
    """A column with unknown values empty; mutations as WT or mutated, stages without their letters (IIA is II),
    specimens by kind from their words, assays as TSO500 for any way to write it."""
    values = columns[name]
    if name == "site":  # na and ns are sites of TCGA
        return values
    values = ["" if v.lower() in UNKNOWN or re.fullmatch(r"\[.*\]", v) else v for v in values]
    if "WT" in values:
        return [v if v in ("", "WT") else "mutated" for v in values]
    if "stage" in name.lower():
        stage = re.compile(r"(?:stage\s*)?(IV|III|II|I|0)(?:[ABC]\d?)?", re.IGNORECASE)
        return [m[1].upper() if (m := stage.fullmatch(v)) else v for v in values]
    if SPECIMEN.fullmatch(name.lower()):
        return ["+".join(dict.fromkeys(map(_specimen, v.split("+")))) for v in values]
    if ASSAY.fullmatch(name.lower()):
        return ["+".join(dict.fromkeys(map(_assay, v.split("+")))) for v in values]
    return values


def _specimen(stated: str) -> str:
    kinds = (kind for kind, words in SPECIMENS.items() if re.search(words, stated.lower()))
    return next(kinds, stated.strip())


def _assay(stated: str) -> str:
    return "TSO500" if re.search(TSO500, stated.lower()) else stated.strip()


def grouping(columns: Columns, given: Sequence[str] | None) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """The columns of the subgroup table with their levels and each patient's level: those given, else fields and
    columns named for a specimen or an assay, without those that group patients like an earlier one, and without those
    of one level."""
    named = (n for n in columns if SPECIMEN.fullmatch(n.lower()) or ASSAY.fullmatch(n.lower()))
    usual = dict.fromkeys([*FIELDS, *named])
    seen = []
    for name in usual if given is None else given:
        names, level = levels(texts(columns, name)) if name in columns else ([], np.array([]))
        groups = {frozenset(np.flatnonzero(level == one)) for one in names}
        many = name not in FIELDS and len(names) > MOST_LEVELS
        if len(names) > 1 and (given is not None or not (many or groups in seen)):
            seen.append(groups)
            yield name, names, level


def numbers(values: Sequence[str]) -> np.ndarray | None:
    """float64[patient], NaN where unknown; None if a value is not a number or there are under five distinct ones."""
    try:
        found = np.array([float(v) if v else np.nan for v in values])
    except ValueError:
        return None
    known = found[np.isfinite(found)]
    return found if len(np.unique(known)) >= FEWEST_NUMBERS else None


def levels(values: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The levels of a column and each patient's level, "" where unknown; numbers in thirds, else halves."""
    number = numbers(values)
    if number is None:
        return sorted(set(values) - {""}), np.array(values)
    known = ~np.isnan(number)
    for shares in ([1 / 3, 2 / 3], [0.5]):
        edges = np.quantile(number[known], shares)
        if len(np.unique(np.digitize(number[known], edges, right=True))) == len(edges) + 1:
            break
    else:
        edges = np.array([number[known].min()])
    e = [f"{x:.4g}" for x in edges]
    names = [f"≤ {e[0]}", *(f"> {a} to {b}" for a, b in itertools.pairwise(e)), f"> {e[-1]}"]
    of = np.where(known, np.array(names)[np.digitize(np.where(known, number, edges[0]), edges, right=True)], "")
    return [n for n in names if (of == n).any()], of
