"""What is known about a cohort's patients: covariates, inputs of baselines, and what a bundle keeps of training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.covariates import join_covariates
from kras_plugins.cohort.specimens import odd_specimens
from kras_plugins.evaluation.baselines import Known, frozen_inputs
from kras_plugins.evaluation.columns import available, check_columns, check_numbers, clinical_columns, texts
from kras_plugins.evaluation.confounders import possible_factors
from kras_plugins.evaluation.lymphocytes import til_feature
from kras_plugins.evaluation.scope import gate_note, out_of_scope, unlike_note
from kras_plugins.evaluation.shift import training_summary
from kras_plugins.study.notify import SILENT, Notify

if TYPE_CHECKING:
    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Bool
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.settings import StudySettings


def described(
    patients: Sequence[Patient], settings: StudySettings, notify: Notify = SILENT
) -> tuple[tuple[Patient, ...], list[str]]:
    """Patients with the covariates of the settings' table, and notes.

    Specimens unlike those that models are made for are reported in a warning and in the notes; they stay in.
    Raises ConfigError for a column that nobody has, and for a column of numbers with a cell that is not a number.
    """
    notes: list[str] = []
    found = tuple(patients)
    if settings.covariates is not None:
        found, notes = join_covariates(found, settings.covariates, settings.target)
    check_columns(found, settings.subgroups or (), "subgroups")
    check_columns(found, settings.confounders or (), "confounders")
    factors = possible_factors(found) if settings.confounders is None else settings.confounders
    check_numbers(found, [*clinical_columns(found, settings.clinical), *(settings.subgroups or ()), *factors])
    for said, _ in odd_specimens({name: texts(found, name) for name in available(found)}):
        notify.warn(said)
        notes.append(f"{said}. They stay in.")
    return found, notes


def with_patients(cases: Sequence[Case], patients: Sequence[Patient]) -> list[Case]:
    """The cases with their patients as described, and the actual resolution of their slides as covariate `mpp`."""
    by_id = {p.patient_id: p for p in patients}
    return [replace(c, patient=_with_mpp(by_id[c.patient.patient_id], c)) for c in cases]


def baseline_inputs(cases: Sequence[Case], settings: StudySettings) -> Known:
    """What baselines may look at in training."""
    patients = [c.patient for c in cases]
    return _known(
        cases, clinical_columns(patients, settings.clinical), til_feature(_features(cases), settings.til_feature)
    )


def frozen_baseline_inputs(cases: Sequence[Case], frozen: Mapping[str, Any]) -> Known:
    """What a bundle's baselines looked at in training, now for other patients; `frozen`: its baselines."""
    return _known(cases, *frozen_inputs(frozen))


def _features(cases: Sequence[Case]) -> tuple[str, ...]:
    return next((tuple(c.sample.profile.names) for c in cases if c.sample.profile is not None), ())


def _known(cases: Sequence[Case], columns: Sequence[str], feature: str | None) -> Known:
    patients, names = [c.patient for c in cases], _features(cases)
    til = None
    if feature in names:
        at = names.index(feature)
        til = np.array([np.nan if c.sample.profile is None else c.sample.profile.values[at] for c in cases], np.float64)
    return Known(
        histology=[p.histology for p in patients],
        site=[p.site for p in patients],
        clinical={name: texts(patients, name) for name in columns},
        til=til,
        til_name=feature or "",
    )


def cohort_summary(cases: Sequence[Case]) -> dict[str, Any]:
    """A cohort in numbers, as JSON values: kept in a bundle, and compared with other cohorts."""
    slides = [r for c in cases for r in c.results]
    stated = [r.qc.mpp if r.qc is not None else r.ref.mpp for r in slides]
    return training_summary(
        [c.sample for c in cases],
        [c.patient.label or 0 for c in cases],
        [c.patient.histology for c in cases],
        [mpp for mpp in stated if mpp is not None],
        [r.qc.stain_od for r in slides if r.qc is not None and r.qc.stain_od is not None],
        [content_of(c) for c in cases],
    )


def content_of(case: Case, fewest_values: int = 0) -> list[str]:
    """Digests that identify a patient's slides, or what was made from them elsewhere, under any name.

    Rows of features with fewer than `fewest_values` distinct values are left out: they may be equal by chance.
    """
    slides = [r.fingerprint for r in case.results if r.qc is not None]
    made = [key for r in case.results if r.qc is None for key in r.keys]
    rows = [r.profile.values for r in case.results if r.qc is None and r.profile is not None]
    values = [row.tobytes() for row in rows if len(np.unique(row[np.isfinite(row)])) >= fewest_values]
    return [hashlib.sha256(x).hexdigest() for x in {*(text.encode() for text in (*slides, *made)), *values}]


def scope_reasons(cases: Sequence[Case]) -> list[str]:
    """Why no call is made for a patient, "" for those in scope."""
    return [out_of_scope(c.patient.histology, c.sample.profile) for c in cases]


def in_scope_of(cases: Sequence[Case]) -> Bool:
    """bool[patient]: those for whom a call can be made."""
    return np.array([not reason for reason in scope_reasons(cases)], bool)


def scope_note(cases: Sequence[Case]) -> str:
    """What decided which of these patients are in scope, and for how many the profiler does not know the tissue."""
    profiles = [c.sample.profile for c in cases]
    return f"Scope is decided by {gate_note(profiles)}. {unlike_note(profiles)}".rstrip()


def _with_mpp(patient: Patient, case: Case) -> Patient:
    measured = sorted({f"{r.qc.mpp:.4g}" for r in case.results if r.qc is not None})
    if not measured or "mpp" in patient.covariates:
        return patient
    return replace(patient, covariates={**patient.covariates, "mpp": "+".join(measured)})
