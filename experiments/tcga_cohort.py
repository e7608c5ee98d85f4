"""The cohort tables of the TCGA experiment, made from the shared data; they lie in the output folder, not here."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

from kras_plugins.cohort.labelling import label_tables
from kras_plugins.cohort.labels import LABEL_COLUMNS, Policy
from kras_plugins.study.outputs import write_table

FEATURES = ("hif_luad.csv.gz", "hif_lusc.csv.gz")
"""Tables of the 607 human-interpretable features, one row a slide, with clinical data beside them."""

DISEASES = ("LUAD", "LUSC")

TARGETS = ("g12c", "kras_any_nonsilent")
"""Columns of the labels that `kras cohort labels` makes of ras_mutations.tsv.gz."""


def write_labels(data: Path, file: Path) -> None:
    """Write the labels of all patients of the public mutation table, as `kras cohort labels --sites` does.

    Sites are institutions: each of TCGA's codes stands for an institution and a study, and so for one histology.
    """
    found = label_tables(
        [str(data / "ras_mutations.tsv.gz")], Policy(), diseases=DISEASES, sites=data / "tss_sites.csv"
    )
    write_table(file, [one.row() for one in found.labels], LABEL_COLUMNS)


def write_cohort(data: Path, labels: Path, file: Path, *, target: str, luad_only: bool) -> None:
    """Write the cohort CSV of one target and scope: one row a patient with features, empty where the label is unknown.

    Nothing in it states KRAS but the target. Covariates are age, sex, stage, and `tmb`, log10 of the number of
    mutations; co-mutations come from a table of their own.
    """
    known = {row["patient_id"]: row for row in read_table(labels)}
    burden = {row["PATIENT_BARCODE"]: row["log10_mut"] for row in read_table(data / "kras_labels.csv")}
    clinical = {row["case"]: row for name in FEATURES for row in read_table(data / name)}
    rows = [
        {
            "patient_id": patient,
            "slide_id": patient,  # profiler `import` averages the rows of a patient's slides
            "site": known[patient]["site"],
            "histology": known[patient]["histology"],
            target: known[patient][target],
            "age": _stated(own["age_at_initial_pathologic_diagnosis"]),
            "sex": _stated(own["gender"]).lower(),
            "stage": _stated(own["ajcc_pathologic_tumor_stage"]).removeprefix("Stage "),
            "tmb": burden.get(patient, ""),
        }
        for patient, own in sorted(clinical.items())
        if patient in known and (known[patient]["histology"] == "LUAD" or not luad_only)
    ]
    with file.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(file: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV, plain or gzipped, with or without a byte order mark."""
    reading = gzip.open if file.suffix == ".gz" else open
    with reading(file, "rt", encoding="utf-8-sig", newline="") as f:
        yield from csv.DictReader(f)


def _stated(text: str) -> str:
    """TCGA writes `[Not Available]` and the like where nothing is known."""
    return "" if text.startswith("[") else text
