"""Score new slides with a locked bundle: a row and a page for each patient, maps of each slide, added to a folder."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.data import Prediction
from kras_plugins.errors import ConfigError
from kras_plugins.study.notify import SILENT, Notify
from kras_plugins.study.outputs import (
    FAILURES,
    MONITOR,
    PREDICTIONS,
    failures_with,
    predictions_table,
    read_predictions,
    write_failures,
    write_table,
)
from kras_plugins.study.results import Scoring
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.cohort.table import CohortTable
    from kras_plugins.learning.bundle import Bundle, BundleScores
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.arrivals import Row as WatchedRow
    from kras_plugins.study.gathering import Gathering
    from kras_plugins.study.outputs import Row, SetAside


def score(
    bundle: Path | str,
    slides: Sequence[Path | str] | Path | str,
    settings: StudySettings | None = None,
    *,
    out: Path | str,
    patient: str | None = None,
    prevalence: float | None = None,
    overlay: bool = False,
    overwrite: bool = False,
    notify: Notify = SILENT,
    command: Sequence[str] = ("kras_plugins.study.score",),
) -> Scoring:
    """Score new slides with a bundle. Research use only.

    A folder gathers patients: those of this call are added to the existing ones, with an entry in manifest.json.

    Parameters:
        bundle: the bundle folder of a training.
        slides: slide files, folders of them, or one cohort CSV.
        settings: histologies, backend, reader, workers, store, require_signature; all others are the bundle's;
            `with_tables` for a bundle of finished features.
        out: folder to add to.
        patient: the patient of all slides; else each slide is its own patient.
        prevalence: share of positives where the result is used; that of the training if None.
        overlay: also draw cells and tissue over each slide.
        overwrite: replace what another bundle, or another prevalence, left in that folder.
        notify: receives progress, notes and warnings.
        command: the words of the call, for the manifest.

    Returns:
        One row per patient, with a call or the reason for none, and each patient's page.

    Raises:
        UsageError: a path that does not exist.
        ConfigError: a folder of another bundle; a patient who is already there with other slides.
        StoreError: a bundle that is not whole, that cannot be used, or that no trusted key signed although one must.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings().with_options("profiler.import.table=features.csv")
        >>> result = study.score("results/bundle", "other.csv", settings, out="scores")
        >>> result.predictions.num_rows, result.predictions.column_names[-3:]
        (10, ['reason', 'qc', 'cautions'])
    """
    from kras_plugins.files.portable import portable
    from kras_plugins.learning.samples import assemble
    from kras_plugins.manifest import build_manifest
    from kras_plugins.report.case import case_name
    from kras_plugins.study.apply import cautions_of, loads_results, open_bundle, open_bundle_parts, stated
    from kras_plugins.study.arrivals import new_rows
    from kras_plugins.study.audit import scope_note
    from kras_plugins.study.gathering import Gathering
    from kras_plugins.study.inputs import slides_of
    from kras_plugins.study.pages import write_pages
    from kras_plugins.study.seen_before import in_training
    from kras_plugins.study.session import cautions, opened, process
    from kras_plugins.study.tiles_seen import most_in_bundle, with_tiles_seen

    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError(f"prevalence {prevalence:g}: must lie strictly between 0 and 1", "for example 0.13")
    began, clock = datetime.now(UTC), time.monotonic()
    given = [slides] if isinstance(slides, str | Path) else list(slides)
    with opened(settings or StudySettings(), notify) as session:
        locked = open_bundle(session, Path(bundle))
        session.names.begin(Path(out), map(Path, given), Path(bundle))
        table, *_ = session.names.table(
            slides_of(
                given,
                session.registry,
                patient=patient,
                target=str(locked.facts["target"]),
                made_elsewhere=loads_results(session, locked),
                learn=session.names.learn,
                histologies=session.settings.histologies,
            )
        )
        used_at = prevalence or float(locked.facts["prevalence"])
        asked = {p.patient_id: tuple(slide.slide_id for slide in p.slides) for p in table.patients}
        what = {"bundle_digest": locked.digest, "prevalence": used_at, "pseudonyms": session.names.mark}
        names = [*asked, *map(case_name, asked), *(slide for slides in asked.values() for slide in slides)]
        gathering = Gathering.opened(Path(out), what, names, overwrite=overwrite)
        gathering.refuse_other_slides(asked)
        with open_bundle_parts(session, locked) as parts:
            processed = process(session, [slide for p in table.patients for slide in p.slides], parts)
            cases = assemble(table.patients, processed.results)
            processed = with_tiles_seen(session, processed, cases, most_in_bundle(locked))
            seen = in_training(locked.facts.get("training"), cases)
            if seen:
                session.notify.note(f"{len(seen)} of {len(cases)} patients were in training; their results say so")
            for caution in cautions_of(locked):
                if caution not in cautions(parts):  # which were shown when the slides were processed
                    session.notify.note(f"demonstration: {caution}")
            gate = scope_note(cases)
            session.notify.note(gate)
            scores = locked.score([c.sample for c in cases])
            predictions = predicted(locked, table, cases, scores, processed.aside, used_at, seen)
            entry = build_manifest(
                command=session.names.hidden(list(command)),
                registry=session.registry,
                config=session.names.hidden(
                    {
                        "bundle": str(bundle),
                        "prevalence": used_at,
                        "histologies": session.settings.histologies,
                        "options": session.settings.options,
                        "cache": session.settings.described().get("cache"),
                    }
                ),
                began=began,
                timings={"slides": time.monotonic() - clock},
                failures=[asdict(f) for f in processed.aside],
                facts={
                    **stated(processed, locked, session.settings.demonstration),
                    "notes": list(processed.notes),
                    "patients": {p: list(own) for p, own in asked.items()},
                    "scope": gate,
                },
            )
            gathering.refuse_changed_slides(entry["slides"])
            pages = write_pages(
                gathering.folder,
                locked,
                parts,
                predictions,
                cases,
                portable(entry, gathering.folder),
                used_at,
                session.notify,
                overlay=overlay,
            )
            rows = [row_of(p, locked) for p in predictions]
            watched = new_rows(table.patients, cases, scores, seen, str(entry["finished"]))
            table_of_all = _added(gathering, rows, watched, processed.aside, entry, locked, session.notify)
    return Scoring(
        folder=gathering.folder,
        predictions=table_of_all,
        added=tuple(p.patient_id for p in predictions),
        pages=pages,
        failures=processed.aside,
    )


def _added(
    gathering: Gathering,
    rows: Sequence[Row],
    watched: Sequence[WatchedRow],
    aside: Sequence[SetAside],
    entry: Mapping[str, Any],
    bundle: Bundle,
    notify: Notify,
) -> pa.Table:
    """Add patients, slides set aside and the entry of this call; returns the predictions of the whole folder.

    A patient who was there before is replaced. `watched`: the rows for monitoring.
    """
    from kras_plugins.study.arrivals import add_rows
    from kras_plugins.study.pages import write_index

    predictions, failures = gathering.folder / PREDICTIONS, gathering.folder / FAILURES
    tried = {slide for slides in entry["patients"].values() for slide in slides}
    with gathering.adding():
        gathering.refuse_other_slides(entry["patients"])
        gathering.refuse_changed_slides(entry["slides"])
        there = bool(gathering.calls())
        earlier = read_predictions(predictions, list(rows[0])).to_pylist() if there else []
        aside = failures_with(failures, tried, aside)
        merged = list({row["patient_id"]: row for row in [*earlier, *rows]}.values())
        write_table(predictions, merged)
        write_failures(failures, aside)
        add_rows(gathering.folder / MONITOR, watched)
        gathering.record(entry, also=write_index(gathering, merged, entry["patients"], bundle, notify))
    return predictions_table(merged)


def predicted(
    bundle: Bundle,
    table: CohortTable,
    cases: Sequence[Case],
    scores: BundleScores,
    aside: Sequence[SetAside],
    prevalence: float,
    seen: Container[str] = (),
) -> list[Prediction]:
    """One prediction per patient, in the cohort's order; those without a usable slide are not assessable.

    `scores`: those of the cases; `seen`: patients of training. Predictions carry the bundle's cautions, and this one.
    """
    from kras_plugins.evaluation.calls import predictions
    from kras_plugins.learning.calibration import shift_prevalence
    from kras_plugins.study.apply import cautions_of
    from kras_plugins.study.audit import scope_reasons
    from kras_plugins.study.seen_before import IN_TRAINING

    shift = float(shift_prevalence(0.0, float(bundle.facts["prevalence"]), prevalence))
    made = {
        p.patient_id: p
        for p in predictions(
            [c.patient.patient_id for c in cases],
            [[r.ref.slide_id for r in c.results] for c in cases],
            scores.members,
            scores.ensemble.available,
            bundle.thresholds["ensemble"],
            [c.qc for c in cases],
            shift=shift,
            out_of_scope=scope_reasons(cases),
        )
    }
    why = {f.patient_id: f.reason for f in aside}
    told = tuple(cautions_of(bundle))
    found = [
        made.get(p.patient_id)
        or Prediction(
            patient_id=p.patient_id,
            slides=(),
            members={},
            ensemble=None,
            call="not_assessable",
            reason=why.get(p.patient_id, "no slide"),
            qc="fail",
        )
        for p in table.patients
    ]
    return [replace(p, cautions=(*told, *([IN_TRAINING] if p.patient_id in seen else []))) for p in found]


def row_of(p: Prediction, bundle: Bundle) -> Row:
    """The row of predictions.csv of one patient."""
    return {
        "patient_id": p.patient_id,
        "slides": " ".join(p.slides),
        **{m.name: p.members.get(m.name) for m in bundle.members},
        "members": " ".join(p.members),
        "ensemble": p.ensemble,
        "call": p.call,
        "reason": p.reason,
        "qc": p.qc,
        "cautions": "; ".join(p.cautions),
    }
