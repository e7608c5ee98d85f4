"""Apply a bundle to an independent cohort and evaluate its scores there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.results import Validation, read_validation
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from kras_plugins.cohort.table import CohortTable
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.examples import OpenSlide
    from kras_plugins.study.identity import Identity
    from kras_plugins.study.session import Processed, Session

_OWN = ("prevalences", "histologies", "covariates", "subgroups", "confounders", "backend", "reader", "mpp", "field")
"""Settings that a validation uses; all others are frozen in the bundle."""


def validate(
    bundle: Path | str,
    cohort: Path | str,
    settings: StudySettings | None = None,
    *,
    out: Path | str,
    overwrite: bool = False,
    notify: Notify = SILENT,
    command: Sequence[str] = ("kras_plugins.study.validate",),
) -> Validation:
    """Apply a bundle to an independent cohort and report how good its scores are there.

    Models, calibration, thresholds and baselines are those of the bundle. Repeating the call resumes where it was
    stopped, and returns a finished validation at once.

    Parameters:
        bundle: the bundle folder of a training.
        cohort: CSV with one row per slide, and labels.
        settings: prevalences, histologies, covariates, subgroups, confounders, backend, reader, workers, store,
            require_signature; the rest is the bundle's; `with_tables` for a bundle of finished features.
        out: folder to write into.
        overwrite: replace another study in that folder.
        notify: receives progress, notes and warnings.
        command: the words of the call, for the manifest.

    Returns:
        Metrics and predictions of the external cohort, and the path of the report.

    Raises:
        UsageError: a folder that is not a bundle.
        ConfigError: a cohort that cannot be read; a cohort or options that do not fit the bundle; a folder of another
            study.
        StoreError: a bundle that is not whole, that cannot be used, or that no trusted key signed although one must.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings(prevalences=(0.13,)).with_tables(["features.csv"])
        >>> result = study.validate("results/bundle", "other.csv", settings, out="external")
        >>> result.auroc().n
        7
    """
    from kras_plugins.cohort.table import read_cohort
    from kras_plugins.learning.samples import assemble
    from kras_plugins.manifest import build_manifest
    from kras_plugins.study.apply import open_bundle, open_bundle_parts, stated
    from kras_plugins.study.audit import described, with_patients
    from kras_plugins.study.examples import opener
    from kras_plugins.study.identity import claim
    from kras_plugins.study.session import none_usable, opened, process
    from kras_plugins.study.tiles_seen import most_in_bundle, with_tiles_seen

    began, clock = datetime.now(UTC), time.monotonic()
    folder = Path(out)
    with opened(settings or StudySettings(), notify) as session:
        locked = open_bundle(session, Path(bundle))
        session.names.begin(folder, [Path(cohort)], Path(bundle))
        table = read_cohort(
            Path(cohort),
            str(locked.facts["target"]),
            needs_paths=False,
            histologies=session.settings.histologies,
        )
        # What the baselines know is frozen in the bundle: this cohort need not have their columns.
        found, told = described(
            table.patients, session.settings.having(clinical=None, target=table.target), session.notify
        )
        table, patients, _ = session.names.table(table, found)
        told = list(map(session.names.hide, told))
        if claim(folder, _identity(session, locked, table), overwrite=overwrite) == "finished":
            return read_validation(folder, done_before=True)
        with open_bundle_parts(session, locked) as parts:
            processed = process(session, [slide for p in table.patients for slide in p.slides], parts)
            open_again = opener(parts)
        cases = with_patients(assemble(table.patients, processed.results), patients)
        if not cases:
            raise none_usable(table.path, processed.aside)
        processed = with_tiles_seen(session, processed, cases, most_in_bundle(locked))
        manifest = build_manifest(
            command=session.names.hidden(list(command)),
            registry=session.registry,
            config=session.names.hidden(
                {
                    "bundle": str(bundle),
                    "cohort": str(cohort),
                    **{k: v for k, v in session.settings.described().items() if k in (*_OWN, "options", "cache")},
                }
            ),
            began=began,
            timings={"all": time.monotonic() - clock},
            failures=[asdict(f) for f in processed.aside],
            facts=stated(processed, locked, session.settings.demonstration),
        )
        return _evaluated(session, locked, table, folder, processed, cases, open_again, told, manifest)


def _evaluated(
    session: Session,
    locked: Bundle,
    table: CohortTable,
    folder: Path,
    processed: Processed,
    cases: Sequence[Case],
    open_again: OpenSlide,
    told: Sequence[str],
    manifest: Mapping[str, Any],
) -> Validation:
    """Score, evaluate, write everything; the manifest last."""
    from kras_plugins.evaluation.baselines import BASELINES
    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.evaluation.rows import patient_scores
    from kras_plugins.study.apply import cautions_of, compared_with_training
    from kras_plugins.study.audit import frozen_baseline_inputs, scope_note, scope_reasons
    from kras_plugins.study.examples import by_bundle, examples, placed
    from kras_plugins.study.importance import frozen_importance
    from kras_plugins.study.publish import write_manifest, write_study

    settings, n, outside = session.settings, len(cases), scope_reasons(cases)
    evaluated = Evaluated.from_bundle(
        locked,
        locked.score([c.sample for c in cases]),
        [c.patient for c in cases],
        frozen_baseline_inputs(cases, locked.facts["baselines"]),
        outside,
        subgroups=settings.subgroups,
        confounders=settings.confounders,
    )
    absent = sorted(set(locked.facts["baselines"]) - set(evaluated.baselines))
    trained = locked.facts.get("internal", {}).get("models", {})
    unlearned = [b for b in BASELINES if b in trained and b not in locked.facts["baselines"]]
    left = [b for b in trained if b not in (*BASELINES, "ensemble", *evaluated.members)]
    external = compared_with_training(locked, processed.facts, cases)
    shifts = [row["warning"] for row in external["shift"] if row["warning"]]
    gate = scope_note(cases)
    for said in [*(f"demonstration: {caution}" for caution in cautions_of(locked)), gate, *shifts]:
        session.notify.note(said)  # also for those who read the numbers only on the terminal
    metrics, predictions = write_study(
        folder,
        evaluated,
        cases,
        target=str(locked.facts["target"]),
        flow={
            **table.flow,
            "patients without a usable slide": len(table.patients) - n,
            "patients out of scope": sum(map(bool, outside)),
        },
        notes=[
            *table.warnings,
            *(f"Demonstration: {caution}." for caution in cautions_of(locked)),
            "External cohort: models, calibration and thresholds are those of the bundle.",
            *processed.notes,
            *told,
            *(f"The bundle's baseline {b} is left out: this cohort lacks what it needs." for b in absent),
            *(f"The baseline {b} is a classifier beside the ensemble; a bundle does not contain it." for b in left),
            *(f"The baseline {b} learned nothing in training, so the bundle has none." for b in unlearned),
            gate,
            *(f"Shift: {shift}." for shift in shifts),
        ],
        failures=processed.aside,
        manifest=manifest,
        prevalences=settings.prevalences,
        calibrated_at=float(locked.facts["prevalence"]),
        external=external,
        importance=frozen_importance(locked, evaluated, [c.sample for c in cases]),
        examples=examples(
            patient_scores(evaluated, [c.qc for c in cases]),
            cases,
            by_bundle(locked, placed(cases)),
            open_again,
            session.notify,
        ),
    )
    write_manifest(folder, manifest)
    return Validation(folder=folder, metrics=metrics, predictions=predictions, failures=processed.aside)


def _identity(session: Session, locked: Bundle, table: CohortTable) -> Identity:
    """What makes another call the same validation: bundle, settings that it uses, and content of the cohort's files."""
    from kras_plugins.study.apply import parts_of
    from kras_plugins.study.identity import Identity, bytes_of, inputs_of
    from kras_plugins.study.prepare import named_files, options_of, told_options

    stated = session.settings.result_affecting()
    options = options_of(session, [(kind, name) for kind, named in session.config.options.items() for name in named])
    return Identity(
        call="validate",
        settings={
            **{k: stated[k] for k in _OWN if k != "covariates"},
            "options": options,
            "pseudonyms": session.names.mark,
            "bundle": locked.digest,
        },
        plugins=[session.registry.find("classifier", m.plugin).id for m in locked.members],
        files=inputs_of(
            {"cohort": table.path, **named_files(session.settings)},
            told_options(session, parts_of(session, locked)),
            [slide.row.slide_id for p in table.patients for slide in p.slides],
            session.names.hide,
        ),
        slides={slide.slide_id: bytes_of(slide.path) for p in table.patients for slide in p.slides},
    )
