"""How the help reads: a word for every value, never a Python type, and nothing cut off at 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperArgument, TyperCommand
from typer.models import ParameterInfo

_WORDS = {Path: "FILE", str: "NAME", int: "N", float: "NUMBER"}
_FOLDERS = frozenset({"out", "cache", "repository", "tensorboard", "tls"})
"""Parameters whose path is a folder's, unless they say otherwise."""


class Commands(typer.Typer):
    """A group of commands; without one it shows its help."""

    def __init__(self, help: str, **more: Any) -> None:
        super().__init__(
            help=help,
            no_args_is_help=True,
            subcommand_metavar="COMMAND [ARGS]…",
            rich_markup_mode=None,  # rich would drop what is in brackets, such as defaults, as markup
            context_settings={"help_option_names": ["-h", "--help"]},
            **more,
        )

    def add(self, name: str, function: Callable[..., None]) -> None:
        """Add what `command` made."""
        self.command(name, cls=Command)(function)


class Command(TyperCommand):
    """A command whose arguments are shown by their words alone."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the usage line after the command's name."""
        arguments = [p for p in self.params if isinstance(p, TyperArgument)]
        return ["[OPTIONS]", *(_name(p) if p.required else f"[{_name(p)}]" for p in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options."""
        for title, rows in (("Arguments", self.argument_rows(ctx)), ("Options", self.option_rows(ctx))):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def argument_rows(self, ctx: Any) -> list[tuple[str, str]]:
        """(name, meaning) of each argument."""
        found = [(p, p.get_help_record(ctx)) for p in self.get_params(ctx) if isinstance(p, TyperArgument)]
        return [(_name(p), record[1]) for p, record in found if record]

    def option_rows(self, ctx: Any) -> list[tuple[str, str]]:
        """(name with its value, meaning) of each option."""
        found = [p.get_help_record(ctx) for p in self.get_params(ctx) if not isinstance(p, TyperArgument)]
        return [record for record in found if record]


def worded(info: object, name: str, kind: Any) -> object:
    """An option or argument with a word for its value instead of a Python type."""
    if not isinstance(info, ParameterInfo) or info.metavar is not None:
        return info
    word = next(filter(None, map(_word, _leaves(kind))), None)
    if word is None:
        return info
    shown = copy(info)
    shown.metavar = "FOLDER" if word == "FILE" and name in _FOLDERS else word
    return shown


def _name(argument: TyperArgument) -> str:
    return f"{argument.metavar or argument.name}{'' if argument.nargs == 1 else '…'}"


def _leaves(kind: Any) -> Iterator[Any]:
    """The types that an annotation is made of: Path of `list[Path] | None`."""
    if get_origin(kind) is Literal or not get_args(kind):
        yield kind
    else:
        for inner in get_args(kind):
            yield from _leaves(inner)


def _word(kind: Any) -> str | None:
    return "|".join(get_args(kind)) if get_origin(kind) is Literal else _WORDS.get(kind)
