"""What is shown about a finished study: the main table, where to read on, and what was set aside."""

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
    """Print metrics, and what was set aside; leaves with exit code 3 if anything was."""
    if result.done_before:
        told = f"{result.folder} contains this study, finished; nothing was computed (--overwrite runs it again)"
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
    """Say how many slides were set aside and where the reasons are; leaves with exit code 3 if there are any."""
    if failures:
        stderr().print(
            f"[yellow]{len(failures)} slides were set aside; reasons in {escape(folder / 'failures.csv')}[/]"
        )
        raise typer.Exit(EXIT_SET_ASIDE)


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Print every AUROC in scope and in strata, with n, positives and interval; below it, what the report says first.

    The words are the report's. For an external cohort, also print the mean over single fold models, and the AUROC of
    the same models in training.
    """
    from rich.table import Table

    from kras_plugins.report.html import estimate
    from kras_plugins.report.reported import read_reported
    from kras_plugins.report.style import model_label, model_order
    from kras_plugins.report.tables import model_notes
    from kras_plugins.report.verdict import permutation_sentence, pooled_line, verdict
    from kras_plugins.report.worth import worth_verdict

    of, external = read_reported(metrics, {}), metrics.get("external")
    columns = [_column("in scope", of.models), *(_column(title, table) for title, table in of.strata)]
    if external is not None:
        internal, mean = external["internal"], external["fold_mean"]
        columns.append(("mean of fold models", {name: {"auroc": area} for name, area in mean.items()}))
        columns.append(_column("in training", {name: {**area, "auroc": area} for name, area in internal.items()}))
    table = Table(title=f"{of.target}: AUROC with 95 % interval", title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    for head, _ in columns:
        table.add_column(head, no_wrap=len(columns) < 3)  # more columns wrap on a narrow screen
    for name in model_order(of.models):
        cells = [estimate(m.get("auroc") or {}) if (m := models.get(name)) else "–" for _, models in columns]
        table.add_row(model_label(name), *cells, style="bold" if name == "ensemble" else "")
    stdout().print(table)
    for sentence in filter(None, [verdict(of), pooled_line(of), worth_verdict(of), *model_notes(of.models)]):
        stdout().print(escape(sentence))
    if "verdict" in metrics:
        stdout().print(escape(permutation_sentence(metrics)))


def _column(title: str, models: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The head of a column with its counts, and its models."""
    one = next(iter(models.values()), None)
    return (f"{title}\nn={one.get('n')}, {one.get('n_positive')} positive" if one else title), models
