"""`kras predict`: a locked bundle on new slides; a result, a page, a heat map and GeoJSON for each patient."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    stdout,
)
from kras_plugins.data import Prediction
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.cohort.table import CohortTable
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.samples import Case
    from kras_plugins.processing.execution import Failure


@command
def predict(
    bundle: Annotated[Path, typer.Argument(help="the bundle folder of a run")],
    slides: Annotated[list[Path], typer.Argument(help="slide files, or one cohort CSV")],
    out: Annotated[Path, typer.Option(help="folder to write into")],
    patient: Annotated[str | None, typer.Option(help="all slides are of this patient")] = None,
    prevalence: Annotated[
        float | None, typer.Option(min=0.0001, max=0.9999, help="share of positives where the result is used")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="draw cells and tissue over each slide")] = False,
    backend: Backend = None,
    reader: Reader = None,
    workers: Workers = None,
    config: ConfigFile = None,
    option: Overrides = None,
    plugin: PluginFiles = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Score new slides with a bundle. Research use only."""
    from kras_plugins.cli.apply import open_bundle, open_bundle_parts
    from kras_plugins.cli.pages import write_pages
    from kras_plugins.cli.study import (
        FAILURE_COLUMNS,
        failure_rows,
        make_folder,
        part_facts,
        process,
        slide_facts,
        tell_failures,
        write_json,
        write_table,
    )
    from kras_plugins.cli.tables import noted
    from kras_plugins.learning.samples import assemble
    from kras_plugins.manifest import build_manifest, output_digests

    began, clock = datetime.now(UTC), time.monotonic()
    session = open_session(config, option, plugin, cache)
    locked = open_bundle(session, bundle)
    table = _cohort(slides, patient, str(locked.facts["target"]))
    used_at = prevalence or float(locked.facts["prevalence"])
    refs = [slide for p in table.patients for slide in p.slides]
    make_folder(out)
    with open_bundle_parts(session, locked, session.setting("backend", backend, "local"), reader) as parts:
        with noted():
            results, failures = process(session, refs, parts, workers)
        cases = assemble(table.patients, results)
        predictions = _predict(locked, table, cases, failures, used_at)
        rows = [_row(p, locked) for p in predictions]
        write_table(out / "predictions.csv", rows)
        failed = failure_rows(failures)
        write_table(out / "failures.csv", failed, FAILURE_COLUMNS)
        manifest = build_manifest(
            registry=session.registry,
            config={"bundle": str(bundle), "prevalence": used_at, "options": session.config.options},
            began=began,
            timings={"slides": time.monotonic() - clock},
            failures=failed,
            facts={
                **part_facts(parts),
                "measured": parts.measured(),
                "bundle_digest": locked.digest,
                "trained_on": locked.provenance,
                "slides": slide_facts(results),
            },
        )
        pages = write_pages(out, locked, parts, predictions, cases, manifest, used_at, overlay)
    write_json(out / "manifest.json", {**manifest, "outputs": output_digests(out, ("predictions.csv", "failures.csv"))})
    if as_json:
        print_json(rows)
    else:
        for p in predictions:
            score = "–" if p.ensemble is None else f"{p.ensemble:.3f}"
            page = f"  {pages[p.patient_id]}" if p.patient_id in pages else ""
            stdout().print(f"{p.patient_id}: {p.call} {score} {p.reason}{page}", markup=False)
    tell_failures(failed, out)
    if failed:
        raise typer.Exit(EXIT_SET_ASIDE)


def _cohort(slides: Sequence[Path], patient: str | None, target: str) -> CohortTable:
    from kras_plugins.cohort.table import bare_slides, read_cohort

    tables = [s for s in slides if s.suffix.lower() == ".csv"]
    if not tables:
        return bare_slides(slides, patient)
    if len(slides) > 1 or patient is not None:
        raise ConfigError(
            f"{tables[0]}: a cohort goes alone, without slides or --patient", "give one CSV, or slides only"
        )
    return read_cohort(tables[0], target, labelled=False, needs_paths=False)


def _predict(
    bundle: Bundle, table: CohortTable, cases: Sequence[Case], failures: Sequence[Failure], prevalence: float
) -> list[Prediction]:
    """One prediction a patient, in the cohort's order; those without a usable slide are not assessable."""
    from kras_plugins.cli.audit import scope_reasons
    from kras_plugins.evaluation.calls import predictions
    from kras_plugins.learning.calibration import shift_prevalence

    shift = float(shift_prevalence(0.0, float(bundle.facts["prevalence"]), prevalence))
    scores = bundle.score([c.sample for c in cases])
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
    why = {f.ref.patient_id: f.error.message for f in failures}
    return [
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


def _row(p: Prediction, bundle: Bundle) -> Mapping[str, Any]:
    return {
        "patient_id": p.patient_id,
        "slides": " ".join(p.slides),
        **{m.name: p.members.get(m.name) for m in bundle.members},
        "members": " ".join(p.members),
        "ensemble": p.ensemble,
        "call": p.call,
        "reason": p.reason,
        "qc": p.qc,
    }
