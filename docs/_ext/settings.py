"""Tables of `kras.toml`, of an engine and of a pre-training's recipe, in Markdown, from the models that check them."""

from __future__ import annotations

import typer
from options import table

from kras_plugins.cli.run import run as run_command
from kras_plugins.engines.options import DaskOptions
from kras_plugins.pretraining.recipe import Recipe
from kras_plugins.study.settings import StudySettings

_NOT_IN_RUN = ("options", "dask")
_OPTIONS = {
    "cohort": "", "target_sensitivity": "--sensitivity", "target_specificity": "--specificity",
    "prevalences": "--prevalence", "plugins": "--plugin",
}  # fmt: skip


def run() -> str:
    """The table `[run]`: each setting, its type, the option that overrules it, and what it means."""
    command = typer.main.get_command(_alone())
    options = {parameter.opts[0] for parameter in command.params}
    rows = {}
    for name, field in StudySettings.model_fields.items():
        if name not in _NOT_IN_RUN:
            option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
            rows[name] = (f"`{option}`" if option in options else "", field.description)
    return table(StudySettings, rows)


def engine() -> str:
    """The table `[engine.dask]`."""
    return table(DaskOptions)


def recipe() -> str:
    """The settings of `kras pretrain`."""
    return table(Recipe)


def _alone() -> typer.Typer:
    app = typer.Typer()
    app.command()(run_command)
    return app
