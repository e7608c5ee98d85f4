"""The `kras` command: all command groups. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from kras_plugins.cli import (
    bundle,
    cache,
    cohort,
    demo,
    doctor,
    evaluate,
    model,
    monitor,
    plugin,
    predict,
    pretrain,
    run,
    serve,
    similar,
    stages,
    trust,
    view,
)
from kras_plugins.cli.command import EXIT_INTERRUPTED
from kras_plugins.cli.ending import leave
from kras_plugins.cli.words import Commands

app = Commands(
    "Predict KRAS G12C in non-small-cell lung cancer from H&E whole-slide images. Research use only.",
    name="kras",
    pretty_exceptions_enable=False,
)
app.add("run", run.run)
app.add("predict", predict.predict)
app.add("evaluate", evaluate.evaluate)
app.add("monitor", monitor.monitor)
app.add("embed", stages.embed)
app.add("profile", stages.profile)
app.add("similar", similar.similar)
app.add("view", view.view)
app.add_typer(serve.app, name="serve")
app.add("pretrain", pretrain.pretrain)
app.add_typer(cohort.app, name="cohort")
app.add_typer(bundle.app, name="bundle")
app.add_typer(plugin.app, name="plugin")
app.add_typer(model.app, name="model")
app.add_typer(cache.app, name="cache")
app.add("trust", trust.trust)
app.add("doctor", doctor.doctor)
app.add("demo", demo.demo)


def _tell_version(asked: bool) -> None:
    if asked:
        from kras_plugins import __version__

        typer.echo(f"kras {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that come before a command."""


def main() -> None:
    """Entry point of the `kras` command."""
    os.environ["PYTHONSAFEPATH"] = "1"  # else worker processes look for Python's own modules in the current folder
    # OpenMP's threads spin while they wait for one another; where other work takes a core, seconds become minutes
    # (600 steps of a small network, two threads, two busy cores: 69 and 160 s, against 4 and 6 s).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    code: object = 0
    try:
        app()
    except SystemExit as e:
        code = e.code
    except KeyboardInterrupt:  # before the command began, or after it ended
        typer.echo("interrupted", err=True)
        code = EXIT_INTERRUPTED
    except BaseException:  # noqa: BLE001 - a bug: its traceback is shown, as the interpreter would
        sys.excepthook(*sys.exc_info())
        code = 1
    leave(code if isinstance(code, int) else int(code is not None))
