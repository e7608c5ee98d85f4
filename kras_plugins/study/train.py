"""Train and evaluate the ensemble on a cohort: features, nested cross-validation, evaluation, report and bundle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.outputs import FAILURES, read_json, slide_facts, write_failures
from kras_plugins.study.results import Training, read_training
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.examples import OpenSlide
    from kras_plugins.study.prepare import Prepared
    from kras_plugins.study.session import Processed, Session


def train(
    cohort: Path | str | None = None,
    settings: StudySettings | None = None,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    notify: Notify = SILENT,
    command: Sequence[str] = ("kras_plugins.study.train",),
) -> Training:
    """Train and evaluate the ensemble on a cohort, and write a report and a deployable bundle.

    Repeating the call resumes where it was stopped, and returns a finished study at once. Nothing is printed, and no
    state of the process is changed: several studies may run in threads of one process.

    Parameters:
        cohort: CSV with one row per slide; if None, that of the settings, else `cohort.csv` in the current folder.
        settings: all that can be chosen; the defaults if None.
        out: folder to write into; if None, that of the settings, else `kras-out/<cohort>`.
        overwrite: replace another study in that folder.
        notify: receives progress, notes and warnings; `study.bars()` shows them.
        command: the words of the call, for the manifest.

    Returns:
        Metrics, out-of-fold predictions, and the paths of report and bundle.

    Raises:
        ConfigError: settings or a cohort that cannot make a study, if possible before any slide is opened; a folder of
            another study.
        PluginError, BackendError, StoreError: what stops all slides. A single slide that cannot be used is set aside.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings(classifiers=("rf",), folds=2).with_tables(["features.csv"])
        >>> result = study.train("cohort.csv", settings, out="results")
        >>> result.auroc("ensemble").n, result.auroc("histology_only", among="all_patients").n_positive
        (28, 16)
        >>> result.predictions.column_names[:5]
        ['patient_id', 'slides', 'fold', 'repeat', 'label']
    """
    from kras_plugins.study.identity import claim
    from kras_plugins.study.prepare import find_cohort, identity_of, prepare
    from kras_plugins.study.session import opened

    began, clock = datetime.now(UTC), time.monotonic()
    with opened(settings or StudySettings(), notify) as session:
        prepared = prepare(session, find_cohort(session.settings.cohort if cohort is None else Path(cohort)), out)
        folder = prepared.folder
        if claim(folder, identity_of(session, prepared), overwrite=overwrite) == "finished":
            return read_training(folder, done_before=True)
        inputs = _inputs(session, prepared, folder)
        timings = {"slides": time.monotonic() - clock}
        return _learned(session, prepared, folder, *inputs, began=began, timings=timings, command=command)


def _inputs(session: Session, prepared: Prepared, folder: Path) -> tuple[Processed, list[Case], OpenSlide]:
    """The slides' results, the patients with a usable slide, and a function that opens slides again.

    Raises ConfigError without any usable slide, or for features that leak.
    """
    from kras_plugins.learning.samples import assemble
    from kras_plugins.study.audit import with_patients
    from kras_plugins.study.examples import opener
    from kras_plugins.study.leaks import check_leaks
    from kras_plugins.study.missingness import check_features
    from kras_plugins.study.prepare import parts_of
    from kras_plugins.study.session import none_usable, process
    from kras_plugins.study.tiles_seen import most_in_training, with_tiles_seen

    most = most_in_training(prepared.members)  # before the slides: a member that needs a missing device fails here
    with parts_of(session, prepared) as parts:
        processed = process(session, prepared.slides, parts)
        made_elsewhere = parts.profiler is not None and parts.profiler.loads
        open_again = opener(parts)
    write_failures(folder / FAILURES, processed.aside)  # at once: whatever stops the study later, the reasons are there
    cases = assemble(prepared.table.patients, processed.results)
    if not cases:
        raise none_usable(prepared.table.path, processed.aside)
    if made_elsewhere:
        check_features(cases, prepared.settings.target)
    leaks = [*prepared.leaks, *check_leaks(cases, prepared.settings.target)]
    for leak in leaks:
        session.notify.warn(leak)
    processed = replace(processed, notes=(*processed.notes, *leaks))
    processed = with_tiles_seen(session, processed, cases, most)
    # Only evaluation looks at covariates, nothing before it.
    return processed, with_patients(cases, prepared.patients), open_again


def _learned(
    session: Session,
    prepared: Prepared,
    folder: Path,
    processed: Processed,
    cases: Sequence[Case],
    open_again: OpenSlide,
    *,
    began: datetime,
    timings: dict[str, float],
    command: Sequence[str],
) -> Training:
    """Learn, evaluate, write everything; the manifest last."""
    from kras_plugins.evaluation.arrivals import frozen_reference
    from kras_plugins.evaluation.baselines import why_absent
    from kras_plugins.evaluation.distribution import training_distribution
    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.evaluation.rows import patient_scores
    from kras_plugins.evaluation.shift import internal_results
    from kras_plugins.learning.content import CONTENT
    from kras_plugins.manifest import build_manifest
    from kras_plugins.report.provenance import demonstration_reasons
    from kras_plugins.report.study import write_change_plan
    from kras_plugins.study.arrivals import training_arrivals
    from kras_plugins.study.audit import baseline_inputs, cohort_summary, scope_note, scope_reasons
    from kras_plugins.study.examples import examples, out_of_fold, placed
    from kras_plugins.study.freeze import freeze
    from kras_plugins.study.importance import trained_importance
    from kras_plugins.study.learn import learn
    from kras_plugins.study.publish import write_manifest, write_study
    from kras_plugins.study.trained_on import remember
    from kras_plugins.study.verdict import permutation_verdict
    from kras_plugins.study.vetting import vetted

    settings, table, clock = prepared.settings, prepared.table, time.monotonic()
    known = baseline_inputs(cases, settings)
    outside, gate = scope_reasons(cases), scope_note(cases)
    session.notify.note(gate)
    experiment = learn(session, prepared, cases)
    timings["learning"] = time.monotonic() - clock
    permuted = permutation_verdict(session, prepared, cases, experiment) if settings.verdict == "permutation" else None
    evaluated = Evaluated.from_cross_validation(
        experiment,
        [c.patient for c in cases],
        known,
        outside,
        settings.targets,
        subgroups=settings.subgroups,
        confounders=settings.confounders,
    )
    manifest = build_manifest(
        command=session.names.hidden(list(command)),
        registry=session.registry,
        config=session.names.hidden({**settings.described(), "cohort": str(table.path)}),
        began=began,
        timings=timings,
        failures=[asdict(f) for f in processed.aside],
        facts={
            **processed.facts,
            "measured": processed.measured,
            "demonstration": list(settings.demonstration),
            "members": [f"{m.identity} on {m.extractor}" if m.extractor else m.identity for m in prepared.members],
            "slides": slide_facts(processed.results),
        },
    )
    rows = patient_scores(evaluated, [c.qc for c in cases])
    shown = examples(rows, cases, out_of_fold(experiment, placed(cases)), open_again, session.notify)
    absent = [
        *why_absent(known, evaluated.fold, evaluated.in_scope),
        *(
            f"The baseline {m.name} is classifier {m.plugin.name}, which is not a member of the ensemble."
            for m in prepared.baselines
        ),
    ]
    metrics, predictions = write_study(
        folder,
        evaluated,
        cases,
        target=settings.target,
        flow={
            **table.flow,
            "patients without a usable slide": len(table.patients) - len(cases),
            "patients out of scope": sum(map(bool, outside)),
        },
        notes=[*table.warnings, gate, *processed.notes, *experiment.notes, *prepared.notes, *absent],
        failures=processed.aside,
        manifest=manifest,
        prevalences=settings.prevalences,
        verdict=permuted,
        importance=trained_importance(experiment, evaluated, [c.sample for c in cases], settings.seed),
        examples=shown,
    )
    distribution = training_distribution([c.sample.profile for c, why in zip(cases, outside, strict=True) if not why])
    frozen = {
        **processed.facts,
        "operating_points": metrics["bundle_thresholds"],
        "internal": internal_results(metrics),
        "training": cohort_summary(cases),
        "distribution": distribution,
        "reference": frozen_reference(
            training_arrivals(table.patients, cases, evaluated), distribution, evaluated.frozen["ensemble"]
        ),
    }
    digest = freeze(folder, experiment, evaluated, known, frozen, prepared, cautions=demonstration_reasons(manifest))
    vetted(session, digest, [m.plugin.name for m in experiment.members])
    remember(session.store, digest, manifest["slides"])
    manifest = {**manifest, "bundle_digest": digest}
    write_change_plan(folder, read_json(folder / "bundle" / CONTENT), manifest)
    write_manifest(folder, manifest)
    return Training(folder=folder, metrics=metrics, predictions=predictions, failures=processed.aside)
