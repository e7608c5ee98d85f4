"""What `run`, `evaluate` and `predict` share: choosing parts, processing a cohort, writing what came out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cli.common import Session, escape, stderr, stdout
from kras_plugins.errors import KINDS, ConfigError
from kras_plugins.store import write_atomic

if TYPE_CHECKING:
    from kras_plugins.data import SlideRef
    from kras_plugins.evaluation.summary import Evaluated
    from kras_plugins.host.parts import Parts
    from kras_plugins.learning.samples import Case
    from kras_plugins.processing.execution import Failure
    from kras_plugins.processing.pipeline import SlideResult

FAILURE_COLUMNS = ("slide_id", "patient_id", "path", "kind", "reason", "hint")


def find_cohort(session: Session, given: Path | None) -> Path:
    """The cohort file: given, named in kras.toml, or cohort.csv here; ConfigError saying how to make one."""
    if given is not None:
        return given
    named = session.config.path("cohort")
    if named is not None:
        return named
    here = Path("cohort.csv")
    if here.is_file():
        return here
    raise ConfigError(
        "no cohort given and there is no cohort.csv here",
        "make one with columns patient_id, slide_id, path and g12c, or try `kras demo` first",
    )


def make_folder(out: Path) -> Path:
    """The output folder, made where it is not there; ConfigError when it is a file or may not be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"cannot make the folder {out}: {e.strerror}", "choose another with --out") from e
    return out


def process(
    session: Session, slides: Sequence[SlideRef], parts: Parts, workers: int | None
) -> tuple[list[SlideResult], list[Failure]]:
    """Process slides with a progress bar, in as many worker processes as the command line or kras.toml says."""
    from kras_plugins.cli.progress import SlideProgress
    from kras_plugins.processing.execution import process_slides
    from kras_plugins.processing.execution import workers as open_workers

    for caution in cautions(parts):
        stderr().print(f"[bold yellow]demonstration:[/] {escape(caution)}")
    count = session.setting("workers", workers, 0)
    with open_workers(session.store, count, session.plugin_files) as work, SlideProgress() as progress:
        return process_slides(slides, parts, work, progress)


def failure_rows(failures: Sequence[Failure]) -> list[dict[str, str]]:
    """Set-aside slides as rows of failures.csv."""
    return [
        {
            "slide_id": f.ref.slide_id,
            "patient_id": f.ref.patient_id,
            "path": str(f.ref.path or ""),
            "kind": next(kind.__name__ for kind in KINDS if isinstance(f.error, kind)),
            "reason": f.error.message,
            "hint": f.error.hint,
        }
        for f in failures
    ]


def write_table(file: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV, floats in full precision, None as an empty cell; replaces the file at once."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: "" if v is None else repr(v) if isinstance(v, float) else v for k, v in r.items()} for r in rows
    )
    write_atomic(file, text.getvalue())


def write_json(file: Path, value: Any) -> None:
    """Write JSON with a final newline; replaces the file at once."""
    write_atomic(file, json.dumps(value, indent=1, default=str) + "\n")


def cautions(parts: Parts) -> list[str]:
    """What the models in use ask everybody to be told."""
    used = [s for part in (parts.extractor, parts.profiler) if part is not None for s in part.specs]
    return [s.weights.caution for s in used if s.weights.caution]


def part_facts(parts: Parts) -> dict[str, Any]:
    """What made the inputs, for manifest and bundle."""
    facts: dict[str, Any] = {"precision": parts.precision, "engine": parts.engine}
    # The resolution is a fact of a slide; what else a reader was told changes pixels and is frozen in bundles.
    facts["readers"] = {
        r.plugin.name: {k: v for k, v in r.options.result_affecting().items() if k != "mpp"} for r in parts.readers
    }
    for kind, part in (("extractor", parts.extractor), ("profiler", parts.profiler)):
        if part is not None:
            facts[kind] = {
                "name": part.provided.record.name,
                "version": part.provided.version,
                "distribution": part.provided.distribution,
                **part.facts,
                "weights": [
                    {
                        "model": s.name,
                        "source": s.weights.source,
                        "licence": s.weights.licence,
                        "tcga": s.weights.tcga,
                        "caution": s.weights.caution,
                    }
                    for s in part.specs
                ],
            }
    return facts


def slide_facts(results: Sequence[SlideResult]) -> dict[str, dict[str, Any]]:
    """Fingerprint and quality of every slide used."""
    return {
        r.ref.slide_id: {
            "fingerprint": r.fingerprint,
            "qc": None if r.qc is None else {"verdict": r.qc.verdict, "reasons": list(r.qc.reasons)},
            "mpp": None if r.qc is None else r.qc.mpp,
            "mpp_source": None if r.qc is None else r.qc.mpp_source,
        }
        for r in results
    }


def write_study(
    out: Path,
    evaluated: Evaluated,
    cases: Sequence[Case],
    *,
    target: str,
    flow: Mapping[str, int],
    notes: Sequence[str],
    failures: Sequence[Mapping[str, str]],
    manifest: dict[str, Any],
    prevalences: Sequence[float] = (),
    calibrated_at: float | None = None,
    external: Mapping[str, Any] | None = None,
    out_of_scope: Sequence[str] = (),
) -> dict[str, Any]:
    """Write predictions.csv, metrics.json, failures.csv, the report with its documents, manifest.json; the metrics."""
    from kras_plugins.cli.seen_before import seen_notes
    from kras_plugins.evaluation.rows import predictions_rows
    from kras_plugins.evaluation.summary import summarize
    from kras_plugins.manifest import output_digests
    from kras_plugins.report.study import CHECKLIST, MODEL_CARD, write_study_documents, write_study_report

    metrics = summarize(
        evaluated,
        target=target,
        cohort_flow=dict(flow),
        notes=[*notes, *seen_notes(manifest.get("extractor"), cases)],
        prevalences=prevalences,
        calibrated_at=calibrated_at,
        external=external,
    )
    rows = predictions_rows(evaluated, [c.qc for c in cases], out_of_scope)
    write_table(out / "predictions.csv", rows)
    write_json(out / "metrics.json", metrics)
    write_table(out / "failures.csv", failures, FAILURE_COLUMNS)
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as f:
        write_study_report(out, metrics, list(csv.DictReader(f)), manifest)
    write_study_documents(out, metrics, manifest)
    names = ("predictions.csv", "metrics.json", "failures.csv", "report.html", MODEL_CARD, CHECKLIST)
    write_json(out / "manifest.json", {**manifest, "outputs": output_digests(out, names)})
    return metrics


def print_metrics(metrics: Mapping[str, Any], out: Path) -> None:
    """The table people look at first: every AUROC with n, positives and interval, beside its baselines.

    Where there is no interval or, among mixed or unknown histologies, no baseline of histology, it says so.
    Of an external cohort also the mean over single fold models, and what the same models were worth in training.
    """
    from rich.table import Table

    def shown(entry: Mapping[str, Any] | None) -> str:
        if not entry or entry.get("value") is None:
            return "–"
        if entry.get("low") is None:
            return f"{entry['value']:.3f} (no interval)"
        return f"{entry['value']:.3f} ({entry['low']:.3f}–{entry['high']:.3f})"

    every, luad = metrics["models"], metrics["luad_only"]
    table = Table(title=f"{metrics['target']}: AUROC with 95 % interval", title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    external = metrics.get("external")
    tables = [("all", every), ("adenocarcinoma", luad)]
    if external is not None:
        tables.append(("in training", external["internal"]))
    for label, models in tables:
        one = next(iter(models.values()), None)
        head = f"{label}, n={one['n']} ({one['n_positive']} pos.)" if one else ""
        table.add_column(head, no_wrap=external is None)  # four columns need lines of two on a narrow screen
    if external is not None:
        table.add_column("mean of fold models")
    for name, model in every.items():
        cells = [shown(model["auroc"]), shown((luad.get(name) or {}).get("auroc"))]
        if external is not None:
            cells += [shown(external["internal"].get(name)), shown(external["fold_mean"].get(name))]
        table.add_row(name, *cells, style="bold" if name == "ensemble" else "")
    stdout().print(table)
    if "histology_only" not in every and metrics["n"] != next((m["n"] for m in luad.values()), 0):
        stdout().print("no baseline of histology alone: an AUROC may reflect the histology and nothing else")
    stdout().print(f"report: {out / 'report.html'}")


def tell_failures(failures: Sequence[Mapping[str, str]], out: Path) -> None:
    """Say how many slides were set aside and where the reasons are."""
    if failures:
        stderr().print(f"[yellow]{len(failures)} slides were set aside; reasons in {out / 'failures.csv'}[/]")
