"""`kras evaluate`: external validation of a bundle, with the thresholds that are frozen in it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.audit import Covariates
from kras_plugins.cli.common import (
    EXIT_SET_ASIDE,
    AsJson,
    Backend,
    CacheFolder,
    ConfigFile,
    Overrides,
    PluginFiles,
    Reader,
    Workers,
    command,
    open_session,
    print_json,
)
from kras_plugins.cli.targets import Prevalences
from kras_plugins.errors import ConfigError

BASELINE_SETTINGS = ("clinical", "til_feature")
"""What a bundle's baselines know is frozen in it."""


@command
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="the bundle folder of a run")],
    cohort: Annotated[Path, typer.Argument(help="cohort CSV with labels")],
    out: Annotated[Path, typer.Option(help="folder to write into")],
    prevalence: Prevalences = None,
    covariates: Covariates = None,
    backend: Backend = None,
    reader: Reader = None,
    workers: Workers = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Apply a bundle to an independent cohort and report what its scores are worth there."""
    import numpy as np

    from kras_plugins.cli.apply import compared_with_training, open_bundle, open_bundle_parts
    from kras_plugins.cli.audit import audit_settings, baseline_inputs, described, scope_reasons, with_patients
    from kras_plugins.cli.study import (
        failure_rows,
        make_folder,
        part_facts,
        print_metrics,
        process,
        slide_facts,
        tell_failures,
        write_study,
    )
    from kras_plugins.cli.tables import noted
    from kras_plugins.cli.targets import other_prevalences
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.evaluation.baselines import apply_baselines
    from kras_plugins.evaluation.scope import NOTE
    from kras_plugins.evaluation.scores import Scores
    from kras_plugins.evaluation.summary import Evaluated
    from kras_plugins.evaluation.thresholds import constant_thresholds
    from kras_plugins.learning.samples import assemble
    from kras_plugins.manifest import build_manifest

    began, clock = datetime.now(UTC), time.monotonic()
    session = open_session(config, option, plugin, cache)
    prevalences, settings = other_prevalences(session, prevalence), audit_settings(session, covariates)
    settings = {k: v for k, v in settings.items() if k not in BASELINE_SETTINGS}
    locked = open_bundle(session, bundle)
    target = str(locked.facts["target"])
    table = read_cohort(cohort, target, needs_paths=False)
    patients, notes = described(table.patients, settings)
    slides = [slide for patient in table.patients for slide in patient.slides]
    make_folder(out)
    name = session.setting("backend", backend, "local")
    with open_bundle_parts(session, locked, name, reader) as parts:
        with noted() as remarks:
            results, failures = process(session, slides, parts, workers)
        facts, measured = part_facts(parts), parts.measured()
    cases = assemble(table.patients, results)
    if not cases:
        raise ConfigError(f"{cohort}: no slide could be used", f"the first: {failures[0].error}" if failures else "")
    cases = with_patients(cases, patients)
    scores = locked.score([c.sample for c in cases])
    n = len(cases)
    thresholds = {name: constant_thresholds(t, n) for name, t in locked.thresholds.items()}
    told = locked.provenance.get("thresholds", {})
    known = baseline_inputs(cases, settings, locked.facts["baselines"])
    baselines = apply_baselines(locked.facts["baselines"], known, locked.thresholds)
    notes += [f"The bundle's baseline {b} is left out: what it needs is not known here." for b in
              sorted(set(locked.facts["baselines"]) - set(baselines))]  # fmt: skip
    outside = scope_reasons(cases)
    notes += [f"{sum(map(bool, outside))} of {n} patients are out of scope. {NOTE}"] if any(outside) else []
    evaluated = Evaluated(
        patients=[c.patient for c in cases],
        labels=np.array([c.patient.label for c in cases], np.int8),
        fold=np.zeros((1, n), np.int32),
        members={
            m: Scores(
                logit=logit[None], thresholds=thresholds[m], by_fold=scores.by_fold[m], provenance=told.get(m, {})
            )
            for m, logit in scores.members.items()
        },
        ensemble=Scores(
            logit=scores.ensemble.strict[None],
            thresholds=thresholds["ensemble"],
            by_fold=scores.ensemble_by_fold,
            provenance=told.get("ensemble", {}),
        ),
        available=Scores(logit=scores.ensemble.available[None]),
        baselines={b: replace(s, provenance=told.get(b, {})) for b, s in baselines.items()},
        subgroups=settings.get("subgroups"),
        confounders=settings.get("confounders"),
        clinical=tuple(known.clinical),
    )
    external = compared_with_training(locked, facts, cases)
    failed = failure_rows(failures)
    manifest = build_manifest(
        registry=session.registry,
        config={
            "bundle": str(bundle),
            "cohort": str(cohort),
            "prevalences": prevalences,
            **settings,
            "options": session.config.options,
        },
        began=began,
        timings={"all": time.monotonic() - clock},
        failures=failed,
        facts={
            **facts,
            "measured": measured,
            "bundle_digest": locked.digest,
            "trained_on": locked.provenance,
            "slides": slide_facts(results),
        },
    )
    metrics = write_study(
        out,
        evaluated,
        cases,
        target=target,
        flow={**table.flow, "patients without a usable slide": len(table.patients) - len(cases)},
        notes=[
            *table.warnings,
            "External cohort: models, calibration and thresholds are those of the bundle.",
            *remarks,
            *notes,
            *(f"Shift: {row['warning']}." for row in external["shift"] if row["warning"]),
        ],
        failures=failed,
        manifest=manifest,
        prevalences=prevalences,
        calibrated_at=float(locked.facts["prevalence"]),
        external=external,
        out_of_scope=outside,
    )
    if as_json:
        print_json(metrics)
    else:
        print_metrics(metrics, out)
    tell_failures(failed, out)
    if failed:
        raise typer.Exit(EXIT_SET_ASIDE)
