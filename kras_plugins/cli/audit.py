"""What `run` and `evaluate` share of the audit: covariates, what baselines know, what a bundle keeps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kras_plugins.cli.common import Session
    from kras_plugins.cohort.table import Patient
    from kras_plugins.evaluation.baselines import Known
    from kras_plugins.learning.samples import Case

Covariates = Annotated[
    Path | None,
    typer.Option("--covariates", help="CSV with more about patients, for evaluation only: co-mutations, stage, purity"),
]


def audit_settings(session: Session, covariates: Path | None) -> dict[str, Any]:
    """The settings of the audit, given or from kras.toml; what was not said is left out."""
    file = covariates or session.config.path("covariates")
    run = session.config.run
    said = {name: run[name] for name in ("clinical", "til_feature", "subgroups", "confounders") if name in run}
    return said | ({} if file is None else {"covariates": str(file)})


def described(patients: Sequence[Patient], settings: Mapping[str, Any]) -> tuple[tuple[Patient, ...], list[str]]:
    """Patients with the covariates of the settings' table, and notes; ConfigError for a column nobody has."""
    from kras_plugins.cohort.covariates import join_covariates
    from kras_plugins.evaluation.columns import check_columns, clinical_columns

    notes: list[str] = []
    found = tuple(patients)
    if "covariates" in settings:
        found, notes = join_covariates(found, Path(settings["covariates"]))
    for name in ("subgroups", "confounders"):
        check_columns(found, settings.get(name, ()), name)
    clinical_columns(found, settings.get("clinical"))
    return found, notes


def with_patients(cases: Sequence[Case], patients: Sequence[Patient]) -> list[Case]:
    """The cases with their patients as described, and the resolution their slides truly have as covariate `mpp`."""
    by_id = {p.patient_id: p for p in patients}
    return [replace(c, patient=_with_mpp(by_id[c.patient.patient_id], c)) for c in cases]


def baseline_inputs(
    cases: Sequence[Case], settings: Mapping[str, Any], frozen: Mapping[str, Any] | None = None
) -> Known:
    """What baselines may look at: of these cases, or the same as in training where a bundle's are given."""
    import numpy as np

    from kras_plugins.evaluation.baselines import Known, frozen_inputs
    from kras_plugins.evaluation.columns import clinical_columns, texts
    from kras_plugins.evaluation.lymphocytes import til_feature

    patients = [c.patient for c in cases]
    names = next((c.sample.profile.names for c in cases if c.sample.profile is not None), ())
    if frozen is None:
        columns, feature = (
            clinical_columns(patients, settings.get("clinical")),
            til_feature(names, settings.get("til_feature")),
        )
    else:
        columns, feature = frozen_inputs(frozen)
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
    """What a cohort looks like in numbers: kept in a bundle, and held against it."""
    from kras_plugins.evaluation.shift import training_summary

    slides = [r for c in cases for r in c.results]
    stated = [r.qc.mpp if r.qc is not None else r.ref.mpp for r in slides]
    return training_summary(
        [c.sample for c in cases],
        [c.patient.label or 0 for c in cases],
        [c.patient.histology for c in cases],
        [mpp for mpp in stated if mpp is not None],
        [r.qc.stain_od for r in slides if r.qc is not None and r.qc.stain_od is not None],
        [_content(c) for c in cases],
    )


def _content(case: Case) -> list[str]:
    """Digests by which a patient's slides, or what was made of them elsewhere, are known again under any name."""
    import hashlib

    slides = [r.fingerprint for r in case.results if r.qc is not None]
    made = [key for r in case.results if r.qc is None for key in r.keys]
    values = [r.profile.values.tobytes() for r in case.results if r.qc is None and r.profile is not None]
    return [hashlib.sha256(x).hexdigest() for x in {*(text.encode() for text in (*slides, *made)), *values}]


def scope_reasons(cases: Sequence[Case]) -> list[str]:
    """Why no call is made for a patient, "" for those in scope."""
    from kras_plugins.evaluation.scope import out_of_scope

    return [out_of_scope(c.patient.histology, c.sample.profile) for c in cases]


def _with_mpp(patient: Patient, case: Case) -> Patient:
    measured = sorted({f"{r.qc.mpp:.4g}" for r in case.results if r.qc is not None})
    if not measured or "mpp" in patient.covariates:
        return patient
    return replace(patient, covariates={**patient.covariates, "mpp": "+".join(measured)})
