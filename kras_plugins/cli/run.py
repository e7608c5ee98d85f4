"""`kras run`: features, nested cross-validation, ensemble, evaluation, report and bundle, in one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import EXIT_SET_ASIDE, command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.design import Design
from kras_plugins.cli.options import AsJson, Machine, Overwrite


@command
def run(
    cohort: Annotated[
        Path | None, typer.Argument(metavar="COHORT", help="cohort CSV [default: kras.toml's, else ./cohort.csv]")
    ] = None,
    design: Design = Design(),
    out: Annotated[Path | None, typer.Option(help="folder to write into [default: kras-out/COHORT]")] = None,
    overwrite: Overwrite = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="only the features of every N-th slide from the I-th")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show what would be computed, and how long that takes; needs no weights")
    ] = False,
    machine: Machine = Machine(),
    as_json: AsJson = False,
) -> None:
    """Train and evaluate on a cohort; write a report and a bundle.

    A bundle contains the trained models with their calibration and thresholds. If the run is interrupted, the same
    command continues where it stopped. A folder that contains another study is left alone.
    """
    from kras_plugins import study
    from kras_plugins.cli.metrics_table import show_study
    from kras_plugins.cli.progress import progress

    settings = design.settings(machine)
    if dry_run:
        from kras_plugins.cli.dry_run import print_plan

        print_plan(study.plan(cohort, settings, shard=shard), as_json=as_json)
        return
    if shard is not None:
        with progress() as notify:
            done = study.features(cohort, settings, shard=shard, out=out, overwrite=overwrite, notify=notify)
        if as_json:
            print_json({"shard": shard, "slides": done.slides, "set_aside": len(done.failures)})
        else:
            then = "run without --shard when all shards are done"
            stdout().print(f"shard {shard}: {done.slides} slides in the store; {then}")
        raise typer.Exit(EXIT_SET_ASIDE if done.failures else 0)
    with progress() as notify:
        words = ["kras", *sys.argv[1:]]
        result = study.train(cohort, settings, out=out, overwrite=overwrite, notify=notify, command=words)
    show_study(result, as_json=as_json)
