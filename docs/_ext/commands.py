"""The reference of all commands, in Markdown, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from options import cell

from kras_plugins.cli.app import app
from kras_plugins.cli.words import Command


def reference() -> str:
    """One heading a command: what it does, how it is called, its arguments and options with their defaults."""
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    return "\n".join(_group(root, "kras", 2))


def _group(group: typer.core.TyperGroup, path: str, level: int) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        words = f"{path} {name}"
        yield f"{'#' * level} {words}\n\n{command.help or ''}\n"
        if isinstance(command, typer.core.TyperGroup):
            yield from _group(command, words, level + 1)
        elif isinstance(command, Command):
            yield from _command(command, words)


def _command(command: Command, words: str) -> Iterator[str]:
    context = typer.Context(command, info_name=words)
    yield f"```text\n{' '.join(command.get_usage(context).split()).removeprefix('Usage: ')}\n```\n"
    yield "| | |\n|---|---|"
    for name, meaning in (*command.argument_rows(context), *command.option_rows(context)):
        if "--help" not in name:
            yield f"| `{cell(name)}` | {cell(meaning)} |"
    yield ""
