"""Patients with given columns, for tests of what evaluation does with covariates."""

from __future__ import annotations

from kras_plugins import SlideRef
from kras_plugins.cohort.table import Patient


def people(n, **columns):
    fields = ("site", "histology", "specimen", "kras_test")
    return [
        Patient(
            patient_id=f"p{i}", slides=(SlideRef(patient_id=f"p{i}", slide_id=f"s{i}"),),
            **{k: str(v[i]) for k, v in columns.items() if k in fields},
            covariates={k: str(v[i]) for k, v in columns.items() if k not in fields},
        )
        for i in range(n)
    ]  # fmt: skip
