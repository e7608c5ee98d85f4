"""AACR 2023 abstract 5399 sentence by sentence: what it printed beside what this study found (abstract.csv)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.report import published
from kras_plugins.report.html import p_value
from kras_plugins.report.reported import Facts, rule_label
from kras_plugins.report.style import is_baseline

ABSTRACT = "abstract.csv"
RULE = "youden"
"""The frozen threshold for sensitivity and specificity: the abstract states neither its own nor what it aimed at."""

_MODELS = {"he": "HE only", "mlp": "AI-MLP", "rf": "AI-RF", "ensemble": "ensemble"}
_MEMBERS = ("he", "mlp", "rf")
_INTERCHANGED = "the counts of the abstract imply that it interchanges sensitivity and specificity (our inference)"

_Printed = tuple[float | None, int | None, int | None]
"""A value of the abstract, of how many patients, and how many of them are positive."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of abstract.csv; what the abstract did not print, or this study did not find, is None.

    `published`, with its patients: what the abstract prints. It has no intervals: `published_low` to `published_high`
    are ours, approximated from the counts (`published.hanley_mcneil`). `ours`, with its 95 % interval `low` to `high`:
    for `n` patients in scope. For `pooled_n` patients, in or out of scope, as the abstract counts them: `pooled` with
    its interval; `ours_fold_mean`, the mean over the models of single folds; `histology_only`, what histology alone
    reaches in this cohort. `statistic`: `patients`, `AUROC`, `sensitivity` or `specificity`.
    """

    line: str
    cohort: str
    statistic: str
    published: float | None = None
    published_low: float | None = None
    published_high: float | None = None
    published_n: int | None = None
    published_n_positive: int | None = None
    n: int | None = None
    n_positive: int | None = None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    pooled_n: int | None = None
    pooled_n_positive: int | None = None
    pooled: float | None = None
    pooled_low: float | None = None
    pooled_high: float | None = None
    ours_fold_mean: float | None = None
    histology_only: float | None = None
    note: str = ""


def abstract_lines(metrics: Facts) -> list[Line]:
    """The lines of the abstract for metrics.json of a run (its first cohort) or of an evaluation (its external one).

    Published values are given for KRAS G12C only. A member, subgroup or threshold that this study lacks keeps its
    line, with a note. Any key of `metrics` may be absent.
    """
    about = _About(metrics)
    lines = [*_counts(about), *(_model(about, name) for name in _MODELS)]
    if about.external:
        lines += [
            _rate(about, "sensitivity", published.SMC_SENSITIVITY),
            _rate(about, "specificity", published.SMC_SPECIFICITY),
            *(_group(about, group) for group in published.SMC_GROUPS),
            _non_squamous(about),
        ]
    return lines


def abstract_table(metrics: Facts) -> list[dict[str, Any]]:
    """The rows of abstract.csv, columns in the order of `Line`."""
    return [asdict(line) for line in abstract_lines(metrics)]


@dataclass(frozen=True)
class _About:
    """metrics.json as the lines read it."""

    metrics: Facts

    @property
    def external(self) -> bool:
        return bool(self.metrics.get("external"))

    @property
    def theirs(self) -> published.PublishedCohort:
        return published.SMC if self.external else published.TCGA

    @property
    def comparable(self) -> bool:
        """Whether this study predicts what the abstract does."""
        return self.metrics.get("target") == "g12c"

    def entry(self, table: str, name: str = "ensemble") -> Facts:
        """The entry of a model in a table, empty if it is missing."""
        found = (self.metrics.get(table) or {}).get(name)
        return found if isinstance(found, Mapping) else {}

    def line(
        self, name: str, statistic: str, printed: _Printed, who: Facts, ours: Facts, *notes: object, **more: Any
    ) -> Line:
        """A line of this cohort: `who` has the patients in scope, `ours` the estimate; `notes` may be empty."""
        value, n, n_positive = printed if self.comparable else (None, None, None)
        low = high = None
        if statistic == "AUROC" and value is not None and n is not None and n_positive is not None:
            low, high = published.hanley_mcneil(value, n_positive, n - n_positive)
        pooled = self.entry("all_patients_pooled")
        if statistic == "AUROC":
            histology = self.entry("all_patients_pooled", "histology_only").get("auroc") or {}
            more["histology_only"] = histology.get("value")
        return Line(
            line=name,
            cohort="external" if self.external else "cross-validated",
            statistic=statistic,
            published=value,
            published_low=low,
            published_high=high,
            published_n=n,
            published_n_positive=n_positive,
            n=who.get("n"),
            n_positive=who.get("n_positive"),
            ours=ours.get("value"),
            low=ours.get("low"),
            high=ours.get("high"),
            pooled_n=pooled.get("n"),
            pooled_n_positive=pooled.get("n_positive"),
            note="; ".join(str(note) for note in notes if note),
            **more,
        )


def _counts(about: _About) -> list[Line]:
    """Patients, those with a driver mutation, and those with the target."""
    theirs, here, pooled = about.theirs, about.entry("models"), about.entry("all_patients_pooled")
    drivers = about.metrics.get("drivers") or {}
    their_drivers = None if about.external else published.TCGA_DRIVERS
    known = drivers.get("n")
    told = "not stated" if not drivers else f"known of {known} patients" if known != pooled.get("n") else ""
    target = target_label(str(about.metrics.get("target") or ""))
    found = (
        ("patients", theirs.n, here.get("n"), pooled.get("n"), ""),
        ("KRAS drivers", their_drivers, None, drivers.get("n_positive"), told),
        (target, theirs.n_positive, here.get("n_positive"), pooled.get("n_positive"), ""),
    )
    return [
        about.line(
            name, "patients", (printed, theirs.n, theirs.n_positive), here, {"value": ours}, note, pooled=everyone
        )
        for name, printed, ours, everyone, note in found
    ]


def _model(about: _About, name: str) -> Line:
    """A single model or the ensemble: its AUROC in scope, and on all patients as the abstract has it."""
    theirs, here = about.theirs, about.entry("models", name)
    ours, everyone = here.get("auroc") or {}, about.entry("all_patients_pooled", name).get("auroc") or {}
    members = [m for m in about.metrics.get("models") or {} if m != "ensemble" and not is_baseline(m)]
    other = name == "ensemble" and bool(members) and set(members) != set(_MEMBERS)
    return about.line(
        _MODELS[name],
        "AUROC",
        (theirs.auroc[name], theirs.n, theirs.n_positive),
        here,
        ours,
        not here and "not in this run",
        other and f"of {', '.join(members)}; the abstract's is of {', '.join(_MEMBERS)}",
        ours.get("note"),
        pooled=everyone.get("value"),
        pooled_low=everyone.get("low"),
        pooled_high=everyone.get("high"),
        ours_fold_mean=everyone.get("fold_mean"),
    )


def _rate(about: _About, statistic: str, printed: float) -> Line:
    """Sensitivity or specificity of the ensemble at a threshold of the bundle, in scope, which it was set for."""
    theirs, here = about.theirs, about.entry("models")
    ours = ((here.get("operating_points") or {}).get(RULE) or {}).get(statistic) or {}
    at = "no threshold could be set" if ours.get("value") is None else f"at the frozen threshold {rule_label(RULE)}"
    return about.line(
        f"ensemble, {statistic}",
        statistic,
        (printed, theirs.n, theirs.n_positive),
        here,
        ours,
        at,
        about.comparable and _INTERCHANGED,
    )


def _group(about: _About, group: published.PublishedGroup) -> Line:
    """The ensemble in a subgroup of the patients in scope."""
    rows = [row for row in about.metrics.get("subgroups") or () if row and row.get("column") == group.column]
    row, missing = _row_of(rows, group)
    p = row.get("p_interaction")
    return about.line(
        f"ensemble, {group.name}",
        "AUROC",
        (group.auroc, group.n, None),
        row,
        row.get("auroc") or {},
        missing,
        row.get("note"),
        p is not None and f"p (interaction) {p_value(p)}",
    )


def _row_of(rows: Sequence[Facts], group: published.PublishedGroup) -> tuple[Facts, str]:
    """The row of a column's rows that is this group, or an empty one and the reason."""
    named = [row for row in rows if _is_named(str(row["level"]), group.words)]
    if len(named) != 1:
        levels = ", ".join(str(row["level"]) for row in named)
        return {}, f"{group.column} has {f'several such levels: {levels}' if named else 'no such level beside others'}"
    rest = [row for row in rows if row is not named[0]]
    if not group.others or len(rest) == 1:
        return rest[0] if group.others else named[0], ""
    together = {key: sum(row[key] for row in rest) for key in ("n", "n_positive")}
    # A level against the rest is one comparison, which is given in the row of the level.
    return {"auroc": named[0].get("auroc_rest"), "p_interaction": named[0].get("p_interaction"), **together}, ""


def _is_named(level: str, words: Sequence[str]) -> bool:
    """Whether a level names one of `words`; that of patients whose slides differ names two things and is neither."""
    plain = "".join(filter(str.isalnum, level.casefold()))
    return "+" not in level and any(word in plain for word in words)


def _non_squamous(about: _About) -> Line:
    n, auroc = published.SMC_NON_SQUAMOUS
    here = about.entry("non_squamous")
    ours = here.get("auroc") or {}
    missing = not here and "nobody in scope is known to be non-squamous"
    return about.line("ensemble, non-squamous", "AUROC", (auroc, n, None), here, ours, missing, ours.get("note"))
