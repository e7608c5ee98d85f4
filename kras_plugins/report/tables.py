"""The tables of the study report: objects of metrics.json as headers and rows of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kras_plugins.report import published
from kras_plugins.report.html import Table, number, table
from kras_plugins.report.reported import Facts, Reported, auroc_in_words, model_entries, rule_label
from kras_plugins.report.style import model_order

_FAILURES = ("slide_id", "patient_id", "stage", "reason")


def comparison_table(of: Reported) -> Table:
    """The paired comparisons with each difference and its interval in one cell."""
    rows = []
    for row in of.rows("comparisons"):
        rest = {key: value for key, value in row.items() if key not in ("a", "b", "delta", "low", "high")}
        interval = {"value": row.get("delta"), "low": row.get("low"), "high": row.get("high")}
        rows.append({"a": row.get("a"), "b": row.get("b"), "delta": interval, **rest})
    return table(rows, ("a", "b", "delta", "p", "p_holm", "minimum_detectable"))


def group_tables(rows: Sequence[Facts], column: str) -> tuple[Table, Table]:
    """Groups with an AUROC, and those without; `column` holds what a row is a level of."""
    luad = ("luad_n", "luad_n_positive", "luad_auroc", "luad_p_conditional")
    rest = ("auroc_rest", "delta", "p_interaction", "p_holm")
    first = (column, "level", "n", "n_positive", "auroc", "p_conditional", *luad, *rest, "p_association")
    known = [row for row in rows if row.get("auroc") is not None]
    return table(known, first), table([row for row in rows if row.get("auroc") is None], first)


def incremental_table(of: Reported) -> Table:
    """What a model adds to the covariates named by `over`; the notes stand below (`notes_of`)."""
    rows = [{key: value for key, value in row.items() if key != "note"} for row in of.rows("incremental")]
    areas = ("auroc_base", "auroc_with", "delta_auroc", "p_delta", "p", "coefficient")
    return table(rows, ("model", "over", "population", "n", "n_positive", *areas))


def probe_table(of: Reported) -> Table:
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


def external_table(of: Reported) -> Table:
    """Each model in training and on this cohort: its fold models together, the mean of them alone, and within LUAD."""
    facts = of.metrics.get("external") or {}
    kinds = ("internal", "fold_mean", "fold_ensembled", "internal_luad_only")
    internal, mean, together, luad = (model_entries(_wrapped(facts.get(kind))) for kind in kinds)
    rows = []
    for name in model_order(dict.fromkeys([*internal, *together, *mean])):
        ours = of.models.get(name) or {}
        counts = {"n": ours.get("n"), "n_positive": ours.get("n_positive")}
        here = {**(ours.get("auroc") or {}), **counts, **(together.get(name) or {})}
        rows.append(
            {
                "model": name,
                "in training (cross-validated)": _counted(internal.get(name)),
                "here, fold models together": _counted(here),
                "here, mean of single fold models": _counted({**counts, **mean[name]}) if name in mean else None,
                "LUAD in training": _counted(luad.get(name)),
                "LUAD here": auroc_in_words(of.luad_only[name]) if name in of.luad_only else None,
            }
        )
    return table(rows, ("model",))


def shift_table(of: Reported) -> Table:
    """What differs between training and this cohort, and the warning where there is one."""
    rows = (of.metrics.get("external") or {}).get("shift") or ()
    return table(rows, ("what", "internal", "external", "difference", "warning"))


def merged_rules(points: Facts) -> list[tuple[str, Facts]]:
    """Operating points by name; rules that cut at the same score and say the same are one row with both names."""
    merged: list[tuple[str, Facts, Facts]] = []
    for name, point in points.items():
        if not isinstance(point, Mapping):
            continue
        label, facts = rule_label(name), {k: v for k, v in point.items() if k not in ("provenance", "note")}
        same = [i for i, (_, _, other) in enumerate(merged) if other == facts and facts.get("threshold") is not None]
        if same:
            merged[same[0]] = (f"{merged[same[0]][0]}, {label}", *merged[same[0]][1:])
        else:
            merged.append((label, point, facts))
    return [(name, point) for name, point, _ in merged]


def abstract_rows(of: Reported) -> list[tuple[str, list[str], str]]:
    """(model, the abstract's figure in each of its cohorts, our own) by model, where it has this target."""
    cohorts = published.ABSTRACT.get(str(of.metrics.get("target")), ())
    rows = []
    for name in cohorts[0].auroc if cohorts else ():
        theirs = []
        for cohort in cohorts:
            low, high = published.hanley_mcneil(cohort.auroc[name], cohort.n_positive, cohort.n - cohort.n_positive)
            theirs.append(f"{number(cohort.auroc[name])} ({low:.2f}–{high:.2f})")
        rows.append((name, theirs, auroc_in_words(of.models.get(name))))
    return rows


def band_rows(of: Reported) -> list[tuple[str, str, str, str]]:
    """(setting, band, remark, our own where it belongs there) of the reference bands of this target."""
    ours = {
        "models": of.models.get(of.main) if "histology_only" in of.models else None,
        "luad_only": of.luad_only.get(of.main),
    }
    return [
        (b.setting, f"{b.low:.2f}–{b.high:.2f}", b.remark, auroc_in_words(ours[b.ours]) if ours.get(b.ours) else "–")
        for b in published.BANDS
        if of.metrics.get("target") in b.targets
    ]


def notes_of(rows: Sequence[Facts]) -> list[str]:
    """The notes of some rows, each once: where they are long, they are better read below a table."""
    return list(dict.fromkeys(str(row["note"]) for row in rows if row.get("note")))


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
    inner = (entry or {}).get("auroc")
    area = inner if isinstance(inner, Mapping) else entry
    if not entry or not area or area.get("value") is None:
        return None
    return auroc_in_words({"auroc": area, "n": entry.get("n"), "n_positive": entry.get("n_positive")})
