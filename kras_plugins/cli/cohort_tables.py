"""What `kras cohort` shows: flows, totals, findings and folds as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.cli.console import escape, stderr, stdout

if TYPE_CHECKING:
    from kras_plugins.cohort.findings import Finding

_SHOWN = 8  # of the patients, slides or sites of one finding


def print_labels(result: Mapping[str, Any]) -> None:
    """Print to stderr who was dropped and why, and the totals beside published ones."""
    from rich.table import Table

    from kras_plugins.cohort.barcodes import SAMPLE_TYPES

    flow = Table("", "patients", box=None, title="from patients to labels", title_justify="left")
    for step in result["flow"]:
        flow.add_row(escape(step["step"]), str(step["patients"]))
    stderr().print(flow)
    for kind, n in result["samples_left_out"].items():
        stderr().print(f"left out: {n} samples of type {kind} ({SAMPLE_TYPES.get(kind, 'not a primary tumor')})")
    for reason, n in result["rows_left_out"].items():
        stderr().print(f"left out: {n} {reason} calls")
    if "slide_flow" in result:
        flow = Table("", "slides", "patients", box=None, title="from slides to the cohort", title_justify="left")
        for step in result["slide_flow"]:
            flow.add_row(escape(step["step"]), str(step.get("slides", "")), str(step.get("patients", "")))
        stderr().print(flow)
    counts = {**result["totals"]["by_histology"], "all": result["totals"]}
    sums = Table("", *counts, box=None, title="totals", title_justify="left")
    for name in (k for k in result["totals"] if k != "by_histology"):
        sums.add_row(name, *(str(one[name]) for one in counts.values()))
    stderr().print(sums)
    for where, said in result["published"].items():
        stderr().print(f"published: {where}: " + ", ".join(f"{name} {n}" for name, n in said.items()), style="dim")
    for text in result["notes"]:
        stderr().print(escape(text))
    for text in result["warnings"]:
        stderr().print(f"[yellow]warning:[/] {escape(text)}")
    stderr().print(f"{len(result['flagged'])} patients are flagged; see kras_flags")
    written = [result["labels"], *([result["cohort"]] if "cohort" in result else [])]
    stderr().print("wrote " + " and ".join(map(escape, written)))


def print_findings(found: Sequence[Finding]) -> None:
    """Print to stdout each finding, whom it concerns and what to do, then the count of each severity."""
    colors = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for one in found:
        more = f" … and {len(one.who) - _SHOWN} more" if len(one.who) > _SHOWN else ""
        who = f": {', '.join(one.who[:_SHOWN])}{more}" if one.who else ""
        stdout().print(f"[{colors[one.severity]}]{one.severity}[/] {escape(one.what + who)}", soft_wrap=True)
        if one.do:
            stdout().print(f"  → {escape(one.do)}", soft_wrap=True)
    counts = {name: sum(one.severity == name for one in found) for name in colors}
    stdout().print(", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items()))


def print_folds(result: Mapping[str, Any]) -> None:
    """Print to stdout what each fold contains and how much the folds differ."""
    from rich.table import Table

    strata = sorted({name for one in result["folds"] for name in one["strata"]})
    table = Table(
        "repeat",
        "fold",
        "n",
        "positive",
        *(escape(s or "histology unknown") for s in strata),
        "sites",
        "also in other folds",
        box=None,
    )
    for one in result["folds"]:
        cells = [f"{one['strata'][s]['n']} ({one['strata'][s]['n_positive']} pos.)" for s in strata]
        table.add_row(
            str(one["repeat"]),
            str(one["fold"]),
            str(one["n"]),
            str(one["n_positive"]),
            *cells,
            str(one["sites"]),
            str(one["sites_shared"]),
        )
    stdout().print(table)
    for text in result["notes"]:
        stdout().print(escape(text), soft_wrap=True)
    for r, value in enumerate(result["imbalance"]):
        stdout().print(f"imbalance of repeat {r + 1}: {value:.3f} (0 is perfect; mean relative deviation, summed)")
    stdout().print(f"folds: {escape(result['out'])}")
