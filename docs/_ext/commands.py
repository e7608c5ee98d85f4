"""The reference of all commands, in Markdown, from the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import typer
from options import cell

from kras_plugins.cli.app import app

_TYPE = re.compile(r"<(?:list\[)?(\w+)\]?(?: range)?>")
_WORDS = {"Path": "path", "str": "text", "int": "whole number", "float": "number"}
"""How typer names what an option takes, which are words of Python, and what is said here."""


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
        elif isinstance(command, typer.core.TyperCommand):
            yield from _command(command, words)


def _command(command: typer.core.TyperCommand, words: str) -> Iterator[str]:
    context = typer.Context(command, info_name=words)
    yield f"```text\n{' '.join(command.get_usage(context).split()).removeprefix('Usage: ')}\n```\n"
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [row for row in records if row and "--help" not in row[0]]
    yield "| | |\n|---|---|"
    for name, meaning in rows:
        yield f"| `{_option(name)}` | {cell(meaning)} |"
    yield ""


def _option(name: str) -> str:
    return _TYPE.sub(lambda found: f"<{_WORDS.get(found[1], found[1])}>", name).replace("|", "\\|")
