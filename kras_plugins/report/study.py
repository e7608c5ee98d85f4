"""report.html: what one study found, with its baselines in front; the model card and the checklists beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.evaluation.spread import FEWEST_SITES
from kras_plugins.report import tables
from kras_plugins.report.abstract import abstract_lines
from kras_plugins.report.change_plan import change_plan
from kras_plugins.report.curve_plots import calibration_plot, decision_plot, precision_plot, roc_plot
from kras_plugins.report.curves import ScoreColumns, complete_rows, score_columns
from kras_plugins.report.examples import LAYERS, Examples, kind_title
from kras_plugins.report.flow import call_boxes, flow_boxes
from kras_plugins.report.forest import forest_plot, group_plot
from kras_plugins.report.html import write_page
from kras_plugins.report.importance import importance_plot, importance_tables
from kras_plugins.report.markdown import write_checklist, write_sections
from kras_plugins.report.model_card import model_card
from kras_plugins.report.patients import patient_table
from kras_plugins.report.provenance import demonstration_reasons, provenance_rows
from kras_plugins.report.published import PUBLISHED, SOURCE, Published
from kras_plugins.report.reported import Facts, Reported, out_of_scope_in_words, read_reported
from kras_plugins.report.score_plots import score_plot
from kras_plugins.report.stard import stard
from kras_plugins.report.style import is_baseline, model_order
from kras_plugins.report.tripod import tripod
from kras_plugins.report.verdict import (
    answer,
    headline,
    permutation_sentence,
    pooled_line,
    power_sentence,
    shift_warnings,
    verdict,
)  # fmt: skip
from kras_plugins.report.worth import worth

if TYPE_CHECKING:
    from kras_plugins.evaluation.rows import PatientScores

REPORT, MODEL_CARD, CHANGE_PLAN = "report.html", "model-card.md", "change-plan.md"
DOCUMENTS = (MODEL_CARD, "tripod-ai.md", "stard-ai.md")
"""What `write_study_documents` writes."""
_CALLS = ("rule_in", "indeterminate", "rule_out", "not_assessable")
_SCRIPT = Path(__file__).parent / "templates" / "study.js"
_MOST_PREVALENCES = 3


def report_script() -> tuple[str, str]:
    """The script of report.html, and its sha256 as a content security policy states it."""
    script = _SCRIPT.read_text(encoding="utf-8")
    return script, base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def write_study_report(
    folder: Path,
    metrics: Facts,
    predictions: Sequence[PatientScores],
    manifest: Facts,
    examples: Examples | None = None,
) -> Path:
    """Write folder/report.html, one file that loads nothing else, and return its path.

    `metrics`: docs/reference/outputs.md, metrics.json, of which any key may be absent and any estimate null;
    `predictions`: every patient in every repeat; `manifest`: manifest.json, of which `demonstration`, `failures` and
    everything but times are shown; `examples`: typical patients, if they were looked for. Same input, same bytes.
    Raises StoreError when the file cannot be written.
    """
    of = read_reported(metrics, manifest)
    order = model_order(of.models)
    scores = score_columns(complete_rows(predictions), order)
    demonstration, said = demonstration_reasons(manifest), verdict(of)
    published = PUBLISHED.get(str(metrics.get("target")), Published())
    script, digest = report_script()
    view = {
        "of": of,
        "script": script,
        "script_digest": digest,
        "demonstration": demonstration,
        "verdict": said,
        "out_of_scope": out_of_scope_in_words(of),
        "headline": headline(of),
        "pooled_line": pooled_line(of),
        "answer": answer(of),
        "permutation": permutation_sentence(metrics),
        "power": power_sentence(of),
        "in_scope": _table(of.models),
        "strata": [(title, _table(table)) for title, table in of.strata],
        "luad_alike": of.same_patients(of.luad_only),
        "any_member": _table(of.any_member),
        "pooled": _table(of.pooled),
        "model_notes": tables.model_notes(of.models),
        "fewest_sites": FEWEST_SITES,
        "intervals": tables.interval_table(of.models),
        "worth": worth(of),
        "figures": _figures(of, scores),
        "importance": importance_tables(metrics.get("importance")),
        "examples": examples,
        "kinds": [(kind_title(k, examples.basis), k, shown) for k, shown in examples.kinds] if examples else [],
        "layers": LAYERS,
        "comparisons": tables.comparison_table(of),
        "subgroups": tables.group_tables(of, "subgroups", "column"),
        "confounders": tables.group_tables(of, "confounders", _factor(of)),
        "confounders_luad": _luad_rows(of) != [],
        "incremental": tables.incremental_table(of),
        "incremental_notes": tables.notes_of(of.rows("incremental")),
        "probes": tables.probe_table(of),
        "external": tables.external_table(of),
        "shift": tables.shift_table(of),
        "flow": flow_boxes(metrics.get("cohort_flow"), metrics),
        "endings": call_boxes(_call_counts(scores)),
        "calls": _call_counts(score_columns(predictions, ())),
        "bundle_rules": [] if of.external else tables.merged_rules(of.bundle_thresholds),
        "rules": tables.merged_rules(of.main_model.get("operating_points") or {}),
        "warnings": shift_warnings(of),
        "failures": tables.failure_table(manifest.get("failures")),
        "abstract_lines": abstract_lines(metrics),
        "abstract_source": SOURCE,
        "published": published,
        "patients": patient_table(predictions, model_order({**of.models, **of.pooled})),
        "card": model_card(of, said, demonstration),
        "checklists": [tripod(of), stard(of)],
        "notes": [note for note in metrics.get("notes") or () if note],
        "provenance": provenance_rows(manifest),
    }
    return write_page(folder / REPORT, "study.html.j2", view)


def write_study_documents(folder: Path, metrics: Facts, manifest: Facts) -> tuple[Path, ...]:
    """Write the model card and the checklists into `folder`, with the text that report.html shows."""
    of = read_reported(metrics, manifest)
    sections = model_card(of, verdict(of), demonstration_reasons(manifest))
    title = f"{of.target} from H&E"
    return (
        write_sections(folder / MODEL_CARD, f"Model card: {title}", sections),
        *(write_checklist(folder / checklist.file, title, checklist) for checklist in (tripod(of), stard(of))),
    )


def write_change_plan(folder: Path, bundle: Facts, manifest: Facts) -> Path:
    """Write change-plan.md for the bundle of a run, of which `bundle` is the content and `manifest` has the digest."""
    digest, version = manifest.get("bundle_digest"), (manifest.get("versions") or {}).get("kras")
    target = target_label(str((bundle.get("facts") or {}).get("target") or ""))
    return write_sections(
        folder / CHANGE_PLAN,
        f"Predetermined change control plan: {target} from H&E",
        change_plan(bundle, str(digest or ""), str(version or "")),
        "A skeleton after FDA's guidance of December 2024, filled in with what the bundle states. It is not a plan "
        "until every [to be written] is written, and not a submission even then. Research use only.",
    )


def _table(models: Mapping[str, Facts]) -> list[tuple[str, Facts, bool]]:
    return [(name, models[name], is_baseline(name)) for name in model_order(models)]


def _factor(of: Reported) -> str:
    return "factor" if any("factor" in row for row in of.rows("confounders")) else "column"


def _figures(of: Reported, scores: ScoreColumns) -> dict[str, Any]:
    """Every figure by name, "" or None for one that this run cannot draw."""
    overall = of.main_model
    curves = of.metrics.get("decision_curves") or {}
    drawn = bool(of.models) and len(scores.label) > 0
    return {
        "forest": _both(forest_plot, of) if of.models else None,
        "roc": roc_plot(scores) if drawn else "",
        "precision": precision_plot(scores) if drawn else "",
        "scores": score_plot(scores, of.main, of.bundle_thresholds) if drawn else "",
        "lines": any((of.bundle_thresholds.get(r) or {}).get("threshold") is not None for r in ("rule_in", "rule_out")),
        "calibration": calibration_plot(scores, of.main, overall.get("calibration")) if drawn else "",
        "decision": decision_plot(curves, "decision"),
        "decisions": [
            (other.get("prevalence"), decision_plot(other, f"decision-{i}"))
            for i, other in enumerate(filter(None, curves.get("at_prevalence") or ()))
            if i < _MOST_PREVALENCES
        ],
        "importance": importance_plot(of.metrics.get("importance")),
        "subgroups": _both(group_plot, "subgroups", of.rows("subgroups"), "column", overall),
        "confounders": _confounder_plot(of),
    }


def _luad_rows(of: Reported) -> list[Facts]:
    """The confounders' rows on adenocarcinoma; none where all in scope have it."""
    if of.same_patients(of.luad_only):
        return []
    return [
        {"n": row.get("luad_n"), "n_positive": row.get("luad_n_positive"), "auroc": row.get("luad_auroc"),
         _factor(of): row.get(_factor(of)), "level": row.get("level")}
        for row in of.rows("confounders") if row.get("luad_auroc")
    ]  # fmt: skip


def _both(plot: Callable[..., str], *given: Any, **named: Any) -> Mapping[str, str] | None:
    """A figure for wide and for narrow screens; None where there is nothing to draw."""
    wide = plot(*given, **named)
    return {"wide": wide, "narrow": plot(*given, **named, narrow=True)} if wide else None


def _confounder_plot(of: Reported) -> Mapping[str, str] | None:
    """On adenocarcinoma where the run says so, since strata of all patients may mix histologies."""
    luad, factor = _luad_rows(of), _factor(of)
    if luad:
        entry = of.luad_only.get(of.main) or {}
        return _both(group_plot, "confounders", luad, factor, entry, everyone="Adenocarcinoma")
    return _both(group_plot, "confounders", of.rows("confounders"), factor, of.main_model)


def _call_counts(scores: ScoreColumns) -> list[tuple[str, int, int]]:
    """(call, negatives, positives) in the first repeat, for the calls that occur."""
    counts = []
    for call in _CALLS:
        labels = [
            int(label)
            for label, found, counted in zip(scores.label, scores.call, scores.first_repeat, strict=True)
            if counted and found == call
        ]
        if labels:
            counts.append((call.replace("_", "-"), labels.count(0), labels.count(1)))
    return counts
