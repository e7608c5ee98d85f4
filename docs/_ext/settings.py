"""Tables of `kras.toml` and of a pre-training's recipe, in Markdown, from the models that check them."""

from __future__ import annotations

import typer
from options import table

from kras_plugins.cli.run import run as run_command
from kras_plugins.host.config import RunTable
from kras_plugins.pretraining.recipe import Recipe

_OTHER_NAMES = {"target_sensitivity": "sensitivity", "target_specificity": "specificity", "prevalences": "prevalence",
                "plugins": "plugin"}  # fmt: skip
_ONLY_HERE = {
    "clinical": "columns of the clinical baseline; else recognized names: sex, age, stage, smoking, specimen …",
    "til_feature": "the lymphocyte density that `til_only` ranks by; else `til_ta`, or a name that speaks of one",
    "subgroups": "columns of the subgroup table; else histology, specimen, kras_test, site",
    "confounders": "columns of the confounder table; else all that are no label, outcome or id",
    "deadline": "seconds a plug-in may take for a batch of tiles, a slide or a patient; 0: no end [default: 1800]",
    "import_deadline": "seconds a plug-in may take to be imported; 0: no end [default: 60]",
    "block": "plug-ins to leave out: entry points, distributions or `kind:name`; also `KRAS_BLOCK`, with commas",
    "demonstration": "sentences that a report of made-up data begins with",
}


def run() -> str:
    """The table `[run]`: each setting, its type, the option that overrules it, and what that option's help says."""
    command = typer.main.get_command(_alone())
    helps = {parameter.name: (parameter.opts[0], getattr(parameter, "help", "")) for parameter in command.params}
    rows = []
    for name in RunTable.model_fields:
        option, meaning = helps.get(_OTHER_NAMES.get(name, name), ("", ""))
        meaning = _ONLY_HERE.get(name, meaning)
        if not meaning:
            raise KeyError(f"[run] {name} has neither an option of `kras run` nor words in docs/_ext/settings.py")
        rows.append((name, f"`{option}`" if option.startswith("-") else "", meaning))
    return table(RunTable, {name: (option, meaning) for name, option, meaning in rows})


def recipe() -> str:
    """The settings of `kras pretrain`."""
    return table(Recipe)


def _alone() -> typer.Typer:
    app = typer.Typer()
    app.command()(run_command)
    return app
