"""report.html: what one study found, with its baselines in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kras_plugins.report import figures, published
from kras_plugins.report.curves import Scores, complete_rows, read_scores
from kras_plugins.report.html import MINUS, number, p_value, table, write_page
from kras_plugins.report.provenance import demonstration_reasons, provenance_rows
from kras_plugins.report.style import is_baseline, model_label, model_order

_TARGETS = {"g12c": "KRAS G12C", "kras_driver": "KRAS driver mutation"}
_CALLS = ("rule_in", "indeterminate", "rule_out", "not_assessable")
_FAILURE_COLUMNS = ("slide_id", "patient_id", "stage", "reason")
_SUBGROUP_COLUMNS = ("column", "level", "n", "n_positive", "auroc")

Metrics = Mapping[str, Any]


def write_study_report(
    folder: Path, metrics: Metrics, predictions: Sequence[Mapping[str, str]], manifest: Mapping[str, Any]
) -> Path:
    """Write folder/report.html, one file that loads nothing else, and return its path.

    `metrics`: metrics.json as design.md defines it, in which any estimate may be null; `predictions`: the
    rows of predictions.csv; `manifest`: manifest.json, of which `demonstration`, `failures` and everything
    but times are shown. Same input, same bytes. Raises StoreError when the file cannot be written.
    """
    models, luad_only = _models(metrics.get("models")), _models(metrics.get("luad_only"))
    order = model_order(models)
    scores = read_scores(complete_rows(predictions), order)
    main = "ensemble" if "ensemble" in models else next(iter(order), "")
    operating_points: Metrics = models.get(main, {}).get("operating_points") or {}
    view = {
        "target": target_label(str(metrics.get("target") or "")),
        "n": metrics.get("n"),
        "n_positive": metrics.get("n_positive"),
        "demonstration": demonstration_reasons(manifest),
        "headline": _headline(main, models, luad_only),
        "answer": _answer(main, metrics, models, luad_only),
        "main": main,
        "pooled": [(name, models[name], is_baseline(name)) for name in order],
        "luad_only": [(n, luad_only[n], is_baseline(n)) for n in model_order(luad_only)],
        "luad_note": (metrics.get("luad_only") or {}).get("note") or "",
        "all_patients": [(n, m, is_baseline(n)) for n, m in _models(metrics.get("all_patients")).items()],
        "operating_points": operating_points,
        "calls": _call_counts(read_scores(predictions, ())),
        "figures": _figures(main, models, luad_only, scores, operating_points),
        "comparisons": table(_comparison_rows(metrics.get("comparisons") or ()), ("a", "b")),
        "subgroups": table(metrics.get("subgroups") or (), _SUBGROUP_COLUMNS),
        "confounders": table(metrics.get("confounders") or (), _SUBGROUP_COLUMNS),
        "flow": _flow(metrics.get("cohort_flow")),
        "failures": table(_listed(manifest.get("failures"), "slide_id", "reason"), _FAILURE_COLUMNS),
        "published": _published(models),
        "published_source": published.SOURCE,
        "published_note": published.SENSITIVITY_NOTE,
        "same_target": metrics.get("target") == "g12c",
        "notes": [note for note in metrics.get("notes") or () if note],
        "provenance": provenance_rows(manifest),
    }
    return write_page(folder / "report.html", "study.html.j2", view)


def _models(value: Metrics | None) -> dict[str, Metrics]:
    return {name: model or {} for name, model in (value or {}).items() if model is None or isinstance(model, Mapping)}


def target_label(target: str) -> str:
    """What readers call a target column of the cohort."""
    return _TARGETS.get(target, target or "target not stated")


def _headline(main: str, models: Metrics, luad_only: Metrics) -> list[tuple[str, Metrics | None]]:
    """The three numbers that belong together: the ensemble, what histology alone gives, the ensemble within LUAD."""
    baseline = models.get("histology_only")
    return [
        (f"{model_label(main)}, all patients", models.get(main)),
        ("Histology alone, all patients", baseline),
        (f"{model_label(main)}, adenocarcinoma only", luad_only.get(main)),
    ]


def _answer(main: str, metrics: Metrics, models: Metrics, luad_only: Metrics) -> list[str]:
    """What the numbers do and do not show, in two sentences."""
    if 0 < _patients(models.get(main)) == _patients(luad_only.get(main)):
        first = "All patients have adenocarcinoma, so histology cannot explain the AUROC."
    elif models.get("histology_only", {}).get("auroc") is None:
        first = "There is no histology baseline, so the AUROC may reflect the histological type alone."
    else:
        first = _against_histology(main, metrics.get("comparisons") or ())
    within = luad_only.get(main, {}).get("auroc") or {}
    low, high = within.get("low"), within.get("high")
    if low is None or high is None:
        second = "Within adenocarcinoma alone no interval could be estimated, so nothing is known there."
    elif low > 0.5:
        second = "Within adenocarcinoma alone, where histology cannot help, the interval lies above chance (0.5)."
    elif high < 0.5:
        second = "Within adenocarcinoma alone the interval lies below chance (0.5): positives tend to score lower."
    else:
        second = (
            "Within adenocarcinoma alone, where histology cannot help, the interval includes chance (0.5): this run "
            "does not show that the score tells carriers from others there."
        )
    return [first, second]


def _against_histology(main: str, comparisons: Sequence[Metrics]) -> str:
    name = _subject(main)
    for row in filter(None, comparisons):
        if {row.get("a"), row.get("b")} != {main, "histology_only"}:
            continue
        sign = 1 if row.get("a") == main else -1
        ends = [row.get(key) for key in ("delta", "low", "high")]
        if any(end is None for end in ends):
            reason = row.get("note") or "no reason stated"
            return f"The difference between {model_label(main)} and histology alone could not be tested ({reason})."
        delta, low, high = (sign * float(end) for end in ends if end is not None)
        low, high = min(low, high), max(low, high)
        tested = row.get("p_holm") if row.get("p_holm") is not None else row.get("p")
        corrected = " after Holm correction" if row.get("p_holm") is not None else ""
        numbers = f"difference {delta:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}".replace("-", MINUS)
        if tested is not None:
            numbers += f", p {'' if float(tested) < 0.001 else '= '}{p_value(tested)}{corrected}"
        if low <= 0 <= high or (tested is not None and float(tested) >= 0.05):
            return f"{name} is not shown to rank patients better than their histology alone does ({numbers})."
        direction = "better" if delta > 0 else "worse"
        return f"{name} ranks patients {direction} than their histology alone does ({numbers})."
    return f"Whether {model_label(main)} is better than histology alone was not tested in this run."


def _subject(main: str) -> str:
    return "The ensemble" if main == "ensemble" else model_label(main)


def _patients(model: Metrics | None) -> int:
    return int((model or {}).get("n") or 0)


def _comparison_rows(comparisons: Sequence[Metrics]) -> list[dict[str, Any]]:
    """The comparisons with each difference and its interval in one cell."""
    rows = []
    for row in filter(None, comparisons):
        rest = {key: value for key, value in row.items() if key not in ("a", "b", "delta", "low", "high")}
        interval = {"value": row.get("delta"), "low": row.get("low"), "high": row.get("high")}
        rows.append({"a": row.get("a"), "b": row.get("b"), "delta": interval, **rest})
    return rows


def _figures(
    main: str, models: Metrics, luad_only: Metrics, scores: Scores, operating_points: Metrics
) -> dict[str, str]:
    if not models:
        return {}
    drawn = {"forest": figures.forest_plot(models, luad_only)}
    if len(scores.label):
        drawn |= {
            "roc": figures.roc_plot(scores),
            "scores": figures.score_plot(scores, main, operating_points),
            "calibration": figures.calibration_plot(scores, main),
        }
    return drawn


def _call_counts(scores: Scores) -> list[tuple[str, int, int]]:
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


def _flow(flow: object) -> tuple[list[str], list[list[str]]]:
    return table(_listed(flow, "step", "n"), ("step", "reason", "n", "n_positive"))


def _listed(value: object, key: str, item: str) -> list[object]:
    """A list as it is; a mapping {name: fact} as a list of objects with `key` and `item`."""
    if isinstance(value, Mapping):
        return [{key: k, **(v if isinstance(v, Mapping) else {item: v})} for k, v in value.items()]
    return list(value) if isinstance(value, list | tuple) else []


def _published(models: Metrics) -> list[tuple[str, list[str], Metrics | None]]:
    """(model, the abstract's figure in each of its cohorts, our own) for each model of the abstract."""
    rows = []
    for name in published.TCGA.auroc:
        theirs = []
        for cohort in (published.TCGA, published.SMC):
            low, high = published.hanley_mcneil(cohort.auroc[name], cohort.n_positive, cohort.n - cohort.n_positive)
            theirs.append(f"{number(cohort.auroc[name])} ({low:.2f}–{high:.2f})")
        rows.append((name, theirs, models.get(name)))
    return rows
