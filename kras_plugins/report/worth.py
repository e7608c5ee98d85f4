"""The section "Worth more than sequencing everybody": what ruling out saves and loses, and whether that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kras_plugins.report.curve_plots import benefit_plot
from kras_plugins.report.html import number, percent
from kras_plugins.report.reported import Facts, Reported, rule_label
from kras_plugins.report.terms import begin

_PERCENT = "\N{NO-BREAK SPACE}%"
Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """The section: a sentence, `facts` as (what, number), the gain in net benefit by risk as a figure and as rows.

    `tests`: (NPV to keep, rapid tests avoided, NPV reached). `range`: the risks that were looked at.
    """

    verdict: str
    facts: Rows
    figure: str
    gains: Rows
    tests: Rows
    range: str


def worth(of: Reported) -> Worth | None:
    """The section of a run, None where it has none."""
    block = of.metrics.get("triage") or {}
    if not block.get("verdict"):
        return None
    curve = [(float(row["t"]), row.get("difference") or {}) for row in _rows(block, "net_benefit") if _known(row, "t")]
    rule = rule_label(str(block.get("threshold") or "rule_out")).replace(" ", "-")
    return Worth(
        verdict=worth_verdict(of),
        facts=(
            (f"Ruled out at the {rule} threshold, of all in scope", percent(block.get("ruled_out"))),
            ("Negative among those ruled out (NPV)", percent(block.get("npv"))),
            ("Negative among all in scope (1 − prevalence)", percent(block.get("one_minus_prevalence"))),
        ),
        figure=benefit_plot(curve),
        gains=tuple((percent(t, 0), _gain(found)) for t, found in curve),
        tests=tuple(
            (percent(row.get("npv"), 0), percent(row.get("avoided")), percent(row.get("npv_reached")))
            for row in _rows(block, "rapid_tests_avoided")
        ),
        range=f"{percent(curve[0][0], 0)} to {percent(curve[-1][0], 0)}".replace(" %", _PERCENT) if curve else "",
    )


def worth_verdict(of: Reported) -> str:
    """Only its sentence: that there are no thresholds, or whether ruling out is shown to be worth more."""
    said = (of.metrics.get("triage") or {}).get("verdict")
    return of.no_thresholds or (f"{begin(str(said))}." if said else "")


def _rows(block: Facts, key: str) -> list[Facts]:
    found = block.get(key)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list | tuple) else []


def _known(row: Facts, key: str) -> bool:
    return row.get(key) is not None


def _gain(found: Facts) -> str:
    value, low, high = (number(found.get(key), 4) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
