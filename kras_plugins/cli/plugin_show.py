"""`kras plugin show`: where one plug-in comes from and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, print_json, stdout
from kras_plugins.cli.options import AsJson, Plugins


@command
def show(
    name: Annotated[str, typer.Argument(help="a name, or kind:name if several kinds share it")],
    plugins: Plugins = Plugins(),
    as_json: AsJson = False,
) -> None:
    """Show a plug-in: where it is from, and its options.

    Each option with its default, its meaning and whether it changes results.
    """
    from kras_plugins.host.described import described

    facts = described(plugins.session().registry, name)
    if as_json:
        print_json(facts)
    else:
        _print(facts)


def _print(facts: Iterable[Mapping[str, Any]]) -> None:
    from rich.table import Table

    for fact in facts:
        stdout().print(f"[bold]{escape(fact['id'])}[/]  {escape(fact['summary'])}")
        stdout().print(f"from {fact['plugin']} ({fact['distribution']} {fact['version']})")
        table = Table("option", "default", "meaning", box=None)
        for key, option in fact["options"].items():
            table.add_row(key, escape(repr(option["default"])), escape(option["description"]))
        stdout().print(table)
