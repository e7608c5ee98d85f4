"""The files of an evaluated study: scores, metrics, and the report with its documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.evaluation.rows import patient_scores
from kras_plugins.evaluation.scope import gate_note
from kras_plugins.evaluation.summary import summarize
from kras_plugins.files.portable import portable
from kras_plugins.manifest import output_digests
from kras_plugins.report.abstract import ABSTRACT, abstract_table
from kras_plugins.report.study import CHANGE_PLAN, DOCUMENTS, REPORT, write_study_documents, write_study_report
from kras_plugins.study.fold_scores import FOLDS, write_fold_scores
from kras_plugins.study.outputs import (
    FAILURES,
    MANIFEST,
    METRICS,
    PREDICTIONS,
    SetAside,
    predictions_table,
    write_failures,
    write_json,
    write_table,
)
from kras_plugins.study.seen_before import seen_notes

if TYPE_CHECKING:
    import pyarrow as pa

    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.learning.samples import Case
    from kras_plugins.report.examples import Examples


def write_study(
    out: Path,
    evaluated: Evaluated,
    cases: Sequence[Case],
    *,
    target: str,
    flow: Mapping[str, int],
    notes: Sequence[str],
    failures: Sequence[SetAside],
    manifest: Mapping[str, Any],
    prevalences: Sequence[float] = (),
    calibrated_at: float | None = None,
    external: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
    importance: Mapping[str, Any] | None = None,
    examples: Examples | None = None,
) -> tuple[dict[str, Any], pa.Table]:
    """Write scores, metrics.json, failures.csv, and the report with its documents; returns metrics and predictions.

    `manifest`: how the study was made, as the report states it; `write_manifest` comes last and marks it complete.
    `verdict`: that of a permutation test, if any; `importance`: what members lose when features are permuted;
    `examples`: typical patients for the report.
    """
    notes, manifest = portable(list(notes), out), portable(manifest, out)
    metrics = summarize(
        evaluated,
        target=target,
        cohort_flow=dict(flow),
        notes=[*notes, *seen_notes(manifest, cases)],
        prevalences=prevalences,
        calibrated_at=calibrated_at,
        external=external,
        gate=gate_note([c.sample.profile for c in cases]),
    )
    if verdict is not None:
        metrics["verdict"] = dict(verdict)
    if importance is not None:
        metrics["importance"] = dict(importance)
    scored = patient_scores(evaluated, [c.qc for c in cases])
    rows = [row.cells() for row in scored]
    write_table(out / PREDICTIONS, rows)
    write_fold_scores(out / FOLDS, evaluated)
    write_json(out / METRICS, metrics)
    write_table(out / ABSTRACT, abstract_table(metrics))
    write_failures(out / FAILURES, failures)
    write_study_report(out, metrics, scored, manifest, examples)
    write_study_documents(out, metrics, manifest)
    return metrics, predictions_table(rows)


def write_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json with the digests of all outputs: the last step of a study."""
    bundle = sorted(f.relative_to(out).as_posix() for f in (out / "bundle").rglob("*") if f.is_file())
    names = (PREDICTIONS, FOLDS, METRICS, ABSTRACT, FAILURES, REPORT, *DOCUMENTS, CHANGE_PLAN, *bundle)
    write_json(out / MANIFEST, {**portable(manifest, out), "outputs": output_digests(out, names)})
