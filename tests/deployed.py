"""What deployment files call: the words after `kras`, as the command line would read them."""

from __future__ import annotations

import re
import shlex

import typer

from kras_plugins.cli.app import app


def commands(text: str) -> list[list[str]]:
    """The words after `kras` of each line that calls it, variables of a shell and of Nextflow filled in."""
    filled = re.sub(r"\$\{\w+(\.\w+)?\}|\$\w+", "1", text)
    return [
        shlex.split(line.partition("||")[0], comments=True)[1:]
        for line in map(str.strip, filled.splitlines())
        if line.startswith("kras ")
    ]


def check(words: list[str]) -> None:
    """Parse them as the command line would; it calls nothing."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="kras")
    while isinstance(command, typer.core.TyperGroup):
        name, command, words = command.resolve_command(context, words)
        assert command is not None
        context = command.make_context(name, words.copy(), parent=context)
