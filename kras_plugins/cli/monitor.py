"""`kras monitor`: whether the patients that a bundle scores still resemble those it was trained on."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, Bundle
from kras_plugins.errors import UsageError

if TYPE_CHECKING:
    from kras_plugins.evaluation.looks import Calendar

EXIT_DRIFT = 4


@command
def monitor(
    bundle: Bundle,
    predictions: Annotated[
        list[Path], typer.Argument(metavar="PREDICTIONS", help="folders that `kras predict` wrote with this bundle")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="CSV of patient_id and the target, as labels arrive; optionally date")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for monitor.html and monitor.json")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="first day of scoring that counts")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="last day of scoring that counts")
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="N|PERIOD", help="patients per look, or day, week, month, quarter")
    ] = "month",
    fewest: Annotated[int, typer.Option(min=5, help="fewest patients that are compared")] = 20,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, metavar="P", help="chance of any false alarm over all looks")
    ] = 0.05,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace the results of another plan in the folder")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for drift in patients that a bundle scored.

    Compares slides, features and scores with those of training and, once labels arrive, prevalence, calibration and
    rates too. Ends with exit code 4 if it found drift.
    """
    from kras_plugins import study
    from kras_plugins.cli.told import Told
    from kras_plugins.report.monitor import states

    found = study.monitor(
        bundle,
        predictions,
        labels=labels,
        out=out,
        window=_window(window),
        fewest=fewest,
        alpha=alpha,
        since=f"{since:%Y-%m-%d}" if since else "",
        until=f"{until:%Y-%m-%d}" if until else "",
        overwrite=overwrite,
        notify=Told(),
        command=["kras", *sys.argv[1:]],
    )
    if as_json:
        print_json(found.result)
    else:
        stdout().print(found.verdict, markup=False, soft_wrap=True)
        for row in states(found.result):
            seen = f"; {row['seen']}" if row["seen"] else ""
            stdout().print(f"  {row['title']}: {row['state']}{seen}", markup=False, soft_wrap=True)
        if found.folder is not None:
            stdout().print(str(found.folder / "monitor.html"), markup=False, soft_wrap=True)
    if found.drift:
        raise typer.Exit(EXIT_DRIFT)


def _window(text: str) -> int | Calendar:
    from kras_plugins.evaluation.looks import CALENDAR

    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text not in CALENDAR:
        raise UsageError(f"--window {text}: neither a number nor a period", f"one of {', '.join(CALENDAR)}, or 50")
    return text  # type: ignore[return-value]
