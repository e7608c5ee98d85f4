"""The tables of the study report: objects of metrics.json as headers and rows of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kras_plugins.report import published
from kras_plugins.report.html import Table, estimate, number, table
from kras_plugins.report.subject import Facts, Subject, auroc_in_words, model_entries

_FAILURES = ("slide_id", "patient_id", "stage", "reason")


def comparison_table(of: Subject) -> Table:
    """The paired comparisons with each difference and its interval in one cell."""
    rows = []
    for row in of.rows("comparisons"):
        rest = {key: value for key, value in row.items() if key not in ("a", "b", "delta", "low", "high")}
        interval = {"value": row.get("delta"), "low": row.get("low"), "high": row.get("high")}
        rows.append({"a": row.get("a"), "b": row.get("b"), "delta": interval, **rest})
    return table(rows, ("a", "b", "delta", "minimum_detectable", "p", "p_holm"))


def group_tables(rows: Sequence[Facts], column: str) -> tuple[Table, Table]:
    """Groups with an AUROC, and those without; `column` holds what a row is a level of."""
    first = (column, "level", "n", "n_positive", "auroc")
    known = [row for row in rows if row.get("auroc") is not None]
    return table(known, first), table([row for row in rows if row.get("auroc") is None], first)


def incremental_table(of: Subject) -> Table:
    """What a model adds to the covariates named by `over`."""
    return table(
        of.rows("incremental"), ("model", "over", "n", "n_positive", "auroc_base", "auroc_with", "delta_auroc")
    )


def probe_table(of: Subject) -> Table:
    """What else the score predicts, each with its interval in one cell."""
    rows = []
    for row in of.rows("probes"):
        rest = {key: value for key, value in row.items() if key not in ("value", "low", "high")}
        found = {"value": row.get("value"), "low": row.get("low"), "high": row.get("high")}
        rows.append({**rest, "value": found})
    return table(rows, ("what", "n", "statistic", "value", "p"))


def failure_table(failures: object) -> Table:
    """Slides that were set aside, with the reason; the hint is left to failures.csv."""
    rows = [
        {key: value for key, value in row.items() if key in _FAILURES} if isinstance(row, Mapping) else row
        for row in listed(failures, "slide_id", "reason")
    ]
    return table(rows, _FAILURES)


def external_table(of: Subject) -> Table:
    """Each model in training and on this cohort, its fold models together and the mean of them alone."""
    facts = of.metrics.get("external") or {}
    internal, mean, together = (
        model_entries(_wrapped(facts.get(k))) for k in ("internal", "fold_mean", "fold_ensembled")
    )
    rows = []
    for name in dict.fromkeys([*internal, *together, *mean]):
        ours = of.models.get(name) or {}
        entry = {**(ours.get("auroc") or {}), "n": ours.get("n"), "n_positive": ours.get("n_positive")}
        rows.append(
            {
                "model": name,
                "in training (cross-validated)": _counted(internal.get(name)),
                "here, fold models together": _counted({**entry, **(together.get(name) or {})}),
                "here, mean of single fold models": estimate(mean[name], 3) if name in mean else None,
            }
        )
    return table(rows, ("model",))


def shift_table(of: Subject) -> Table:
    """What differs between training and this cohort, and the warning where there is one."""
    rows = (of.metrics.get("external") or {}).get("shift") or ()
    return table(rows, ("what", "internal", "external", "difference", "warning"))


def merged_rules(points: Facts) -> list[tuple[str, Facts]]:
    """Operating points by name; rules that cut at the same score and say the same are one row with both names."""
    merged: list[tuple[str, Facts, Facts]] = []
    for name, point in points.items():
        if not isinstance(point, Mapping):
            continue
        label, facts = name.replace("_", " "), {k: v for k, v in point.items() if k not in ("provenance", "note")}
        same = [i for i, (_, _, other) in enumerate(merged) if other == facts and facts.get("threshold") is not None]
        if same:
            merged[same[0]] = (f"{merged[same[0]][0]}, {label}", *merged[same[0]][1:])
        else:
            merged.append((label, point, facts))
    return [(name, point) for name, point, _ in merged]


def abstract_rows(of: Subject) -> list[tuple[str, list[str], str]]:
    """(model, the abstract's figure in each of its cohorts, our own) for each model of the abstract."""
    rows = []
    for name in published.TCGA.auroc:
        theirs = []
        for cohort in (published.TCGA, published.SMC):
            low, high = published.hanley_mcneil(cohort.auroc[name], cohort.n_positive, cohort.n - cohort.n_positive)
            theirs.append(f"{number(cohort.auroc[name])} ({low:.2f}–{high:.2f})")
        rows.append((name, theirs, auroc_in_words(of.models.get(name))))
    return rows


def band_rows(of: Subject) -> list[tuple[str, str, str, str]]:
    """(setting, band, remark, our own where it belongs there) of the reference bands."""
    ours = {
        "models": of.models.get(of.main) if "histology_only" in of.models else None,
        "luad_only": of.luad_only.get(of.main),
    }
    return [
        (b.setting, f"{b.low:.2f}–{b.high:.2f}", b.remark, auroc_in_words(ours[b.ours]) if ours.get(b.ours) else "–")
        for b in published.BANDS
    ]


def listed(value: object, key: str, item: str) -> list[object]:
    """A list as it is; a mapping {name: fact} as a list of objects with `key` and `item`."""
    if isinstance(value, Mapping):
        return [{key: k, **(v if isinstance(v, Mapping) else {item: v})} for k, v in value.items()]
    return list(value) if isinstance(value, list | tuple) else []


def _wrapped(value: object) -> dict[str, Any]:
    """{name: estimate} whose estimates may be plain numbers."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {name: v if isinstance(v, Mapping) else {"value": v} for name, v in pairs if not isinstance(v, str)}


def _counted(entry: Facts | None) -> str | None:
    """An AUROC entry that carries its own counts; its estimate may lie under `auroc`."""
    if not entry:
        return None
    inner = entry.get("auroc")
    area = inner if isinstance(inner, Mapping) else entry
    return auroc_in_words({"auroc": area, "n": entry.get("n"), "n_positive": entry.get("n_positive")})
