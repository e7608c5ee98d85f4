"""The tables of the study report: objects of metrics.json as headers and rows of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kras_plugins.evaluation.baselines import PREVALENCE
from kras_plugins.report.html import Table, table
from kras_plugins.report.reported import Facts, Reported, auroc_in_words, model_entries, rule_label
from kras_plugins.report.style import model_label, model_order

_FAILURES = ("slide_id", "patient_id", "stage", "reason")


def comparison_table(of: Reported) -> Table:
    """The paired comparisons, in scope first, with each difference and its interval in one cell."""
    rows = []
    for row in of.rows("comparisons"):
        rest = {key: value for key, value in row.items() if key not in ("a", "b", "delta", "low", "high")}
        interval = {"value": row.get("delta"), "low": row.get("low"), "high": row.get("high")}
        rows.append({"a": row.get("a"), "b": row.get("b"), "delta": interval, **rest})
    return table(rows, ("a", "b", "population", "delta", "p", "p_holm", "minimum_detectable"))


def group_tables(of: Reported, key: str, column: str) -> tuple[Table, Table]:
    """Groups with an AUROC, and those without; `column` names the column that a row is a level of.

    Columns on adenocarcinoma are left out where all in scope have it.
    """
    alike = of.same_patients(of.luad_only)
    rows = [{k: v for k, v in row.items() if not (alike and k.startswith("luad_"))} for row in of.rows(key)]
    luad = ("luad_n", "luad_n_positive", "luad_auroc")
    first = (
        column,
        "level",
        "n",
        "n_positive",
        "auroc",
        *luad,
        "auroc_rest",
        "delta",
        "p_interaction",
        "p_holm",
        "p_association",
    )
    known = [row for row in rows if row.get("auroc") is not None]
    return table(known, first), table([row for row in rows if row.get("auroc") is None], first)


def interval_table(models: Mapping[str, Facts]) -> Table:
    """What each AUROC's interval is made of: errors by patient and by site, which is used, how much it is widened."""
    rows = []
    for name in model_order(models):
        auroc = models[name].get("auroc") or {}
        site = auroc.get("by_site") or {}
        widened, by = auroc.get("inflation"), site.get("se")
        if auroc.get("se") is None or not widened:
            continue
        own = site.get("se_by_patient")
        rows.append(
            {
                "model": name,
                "by_patient": own if site else auroc["se"] / widened,
                "by_site": by,
                "sites": site.get("sites"),
                "with_positives": site.get("sites_with_positives"),
                "used": _used(site),
                "inflation": widened,
                "se": auroc["se"],
            }
        )
    return table(rows, ("model",))


def _used(site: Facts) -> str:
    by_site, by_patient = site.get("se"), site.get("se_by_patient")
    if not site:
        return "error by patient: no site is known"
    if not site.get("enough") or by_site is None:
        return "error by patient: too few sites"
    return "error by site" if by_patient is None or by_site > by_patient else "error by patient: the larger"


def model_notes(models: Mapping[str, Facts]) -> list[str]:
    """What must be known about the AUROCs of a table, such as that calibration found nothing; same notes in one line.

    The prevalence gives everyone the same score by definition.
    """
    by_note: dict[str, list[str]] = {}
    for name in model_order(models):
        note = (models[name].get("auroc") or {}).get("note")
        if note and name != PREVALENCE:
            by_note.setdefault(str(note), []).append(model_label(name))
    return [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def incremental_table(of: Reported) -> Table:
    """What a model adds to the covariates named by `over`; the notes are shown below (`notes_of`).

    Rows on adenocarcinoma are left out where all in scope have it.
    """
    again = "adenocarcinoma" if of.same_patients(of.luad_only) else None
    found = [row for row in of.rows("incremental") if again is None or row.get("population") != again]
    rows = [{key: value for key, value in row.items() if key != "note"} for row in found]
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
    """Each model in training and on this cohort: its fold models together, the mean of them, and adenocarcinoma."""
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
                "adenocarcinoma, in training": _counted(luad.get(name)),
                "adenocarcinoma, here": auroc_in_words(of.luad_only[name]) if name in of.luad_only else None,
            }
        )
    return table(rows, ("model",))


def shift_table(of: Reported) -> Table:
    """What differs between training and this cohort, and the warning where there is one."""
    rows = (of.metrics.get("external") or {}).get("shift") or ()
    return table(rows, ("what", "internal", "external", "difference", "warning"))


def merged_rules(points: Facts) -> list[tuple[str, Facts]]:
    """Operating points by name; rules with the same threshold and figures share one row with both names."""
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
