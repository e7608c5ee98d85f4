"""The `kras` command: all command groups. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys

import typer

from kras_plugins.cli import (
    cache,
    cohort,
    demo,
    doctor,
    evaluate,
    model,
    plugin,
    predict,
    pretrain,
    run,
    similar,
    stages,
)
from kras_plugins.cli.ending import leave

app = typer.Typer(
    name="kras",
    help="Predict KRAS G12C in non-small-cell lung cancer from H&E whole-slide images. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take what stands in brackets, such as defaults, for markup and drop it
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("predict")(predict.predict)
app.command("evaluate")(evaluate.evaluate)
app.command("embed")(stages.embed)
app.command("profile")(stages.profile)
app.command("similar")(similar.similar)
app.command("pretrain")(pretrain.pretrain)
app.add_typer(cohort.app, name="cohort")
app.add_typer(plugin.app, name="plugin")
app.add_typer(model.app, name="model")
app.add_typer(cache.app, name="cache")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the `kras` command."""
    code: object = 0
    try:
        app()
    except SystemExit as e:
        code = e.code
    except BaseException:  # noqa: BLE001 - a bug: its traceback is shown, as the interpreter would
        sys.excepthook(*sys.exc_info())
        code = 1
    leave(code if isinstance(code, int) else int(code is not None))
