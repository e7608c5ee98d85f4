"""What is shown of a finished study: the table people look at first, where to read on, what was set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kras_plugins.cli.command import EXIT_SET_ASIDE
from kras_plugins.cli.console import escape, print_json, stderr, stdout

if TYPE_CHECKING:
    from kras_plugins.study.outputs import SetAside
    from kras_plugins.study.results import StudyResult


def show_study(result: StudyResult, *, as_json: bool) -> None:
    """Print metrics, and what was set aside; leaves with exit code 3 where anything was."""
    if result.done_before:
        told = f"{result.folder} holds this study, finished; nothing was computed (--overwrite does it again)"
        stderr().print(escape(told))
    if as_json:
        print_json(result.metrics)
    else:
        print_metrics(result.metrics)
        stdout().print(f"report: {escape(result.report)}")
        bundle = result.folder / "bundle"
        if bundle.is_dir():
            stdout().print(f"bundle: {escape(bundle)}")
    end_with(result.failures, result.folder)


def end_with(failures: Sequence[SetAside], folder: Path) -> None:
    """Say how many slides were set aside and where the reasons are; leaves with exit code 3 where there are any."""
    if failures:
        stderr().print(
            f"[yellow]{len(failures)} slides were set aside; reasons in {escape(folder / 'failures.csv')}[/]"
        )
        raise typer.Exit(EXIT_SET_ASIDE)


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Every AUROC with n, positives and interval, beside its baselines.

    Where there is no interval or, among mixed or unknown histologies, no baseline of histology, it says so.
    Of an external cohort also the mean over single fold models, and what the same models were worth in training.
    """
    from rich.table import Table

    from kras_plugins.cohort.targets import target_label

    every, luad = metrics["models"], metrics["luad_only"]
    table = Table(title=f"{target_label(metrics['target'])}: AUROC with 95 % interval", title_justify="left", box=None)
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
        cells = [_shown(model["auroc"]), _shown((luad.get(name) or {}).get("auroc"))]
        if external is not None:
            cells += [_shown(external["internal"].get(name)), _shown(external["fold_mean"].get(name))]
        table.add_row(name, *cells, style="bold" if name == "ensemble" else "")
    stdout().print(table)
    if "histology_only" not in every and metrics["n"] != next((m["n"] for m in luad.values()), 0):
        stdout().print("no baseline of histology alone: an AUROC may reflect the histology and nothing else")
    if "verdict" in metrics:
        from kras_plugins.report.verdict import permutation_sentence

        stdout().print(escape(permutation_sentence(metrics)))


def _shown(entry: Mapping[str, Any] | None) -> str:
    if not entry or entry.get("value") is None:
        return "–"
    if entry.get("low") is None:
        return f"{entry['value']:.3f} (no interval)"
    return f"{entry['value']:.3f} ({entry['low']:.3f}–{entry['high']:.3f})"
