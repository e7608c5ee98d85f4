"""`kras plugin list`: what is installed, and what cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, print_json, stdout
from kras_plugins.cli.options import AsJson, Plugins
from kras_plugins.study.notify import SILENT

if TYPE_CHECKING:
    from kras_plugins.host.manager import Registry


@command
def list_plugins(plugins: Plugins = Plugins(), as_json: AsJson = False) -> None:
    """List every plug-in with its distribution and version.

    Broken ones are listed with their cause, and those that cannot be used because two share a name.
    """
    registry = plugins.session(SILENT).registry
    clashes = [str(e) for e in registry.clashes()]
    rows = [
        {
            "kind": p.kind,
            "name": p.record.name,
            "summary": p.record.summary,
            "plugin": p.plugin,
            "distribution": p.distribution,
            "version": p.version,
        }
        for p in registry.provided
    ]
    if as_json:
        broken = [b.facts() for b in registry.broken]
        print_json({"plugins": rows, "broken": broken, "clashes": clashes, "blocked": list(registry.blocked)})
    else:
        _print(rows, registry, clashes)


def _print(rows: Iterable[Mapping[str, Any]], registry: Registry, clashes: Iterable[str]) -> None:
    from rich.table import Table

    table = Table("kind", "name", "what for", "distribution", box=None)
    for row in rows:
        table.add_row(row["kind"], row["name"], escape(row["summary"]), f"{row['distribution']} {row['version']}")
    stdout().print(table)
    if registry.broken:
        table = Table("broken", "distribution", "why", box=None, header_style="red")
        for b in registry.broken:
            table.add_row(*map(escape, (b.plugin, f"{b.distribution} {b.version}", b.cause)))
        stdout().print("", table)
    for clash in clashes:
        stdout().print(f"\n[red]not usable:[/] {escape(clash)}")
    if registry.blocked:
        stdout().print(f"\nblocked: {escape(', '.join(registry.blocked))}")
