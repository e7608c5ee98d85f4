"""`kras plugin list|show|check`: what is installed, what it takes, whether it does what the host relies on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kras_plugins.cli import plugin_check, plugin_new
from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stdout
from kras_plugins.cli.options import AsJson, ConfigFile, PluginFiles, open_session
from kras_plugins.contracts.base import is_tuning
from kras_plugins.errors import ConfigError
from kras_plugins.hookspecs import KINDS
from kras_plugins.host.isolation import ask
from kras_plugins.host.manager import Provided
from kras_plugins.study.notify import SILENT

app = typer.Typer(help="What is installed and which options it takes; one of your own.", no_args_is_help=True)
app.command("new")(plugin_new.new)
app.command("check")(plugin_check.check_plugin)


@app.command("list")
@command
def list_plugins(config: ConfigFile = None, plugin: PluginFiles = None, as_json: AsJson = False) -> None:
    """List every plug-in with its distribution and version; broken ones with their cause."""
    registry = open_session(config, None, plugin, notify=SILENT).registry
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
        return
    from rich.markup import escape
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


@app.command("show")
@command
def show(
    name: Annotated[str, typer.Argument(help="a name, or kind:name where several kinds share it")],
    config: ConfigFile = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Show one plug-in: where it comes from and its options with defaults."""
    registry = open_session(config, None, plugin).registry
    kind, _, short = name.rpartition(":")
    kinds = [kind] if kind else [k for k in KINDS if short in registry.names(k)]
    if kind and kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}", f"kinds: {', '.join(KINDS)}")
    if not kinds:
        known = ", ".join(f"{p.kind}:{p.record.name}" for p in registry.provided)
        raise ConfigError(f"there is no plug-in {short!r}", f"installed: {known}")
    found = [registry.find(k, short) for k in kinds]
    facts = [ask(p.id, _facts, p) for p in found]
    if as_json:
        print_json(facts)
        return
    from rich.markup import escape
    from rich.table import Table

    for fact in facts:
        stdout().print(f"[bold]{escape(fact['id'])}[/]  {escape(fact['summary'])}")
        stdout().print(f"from {fact['plugin']} ({fact['distribution']} {fact['version']})")
        table = Table("option", "default", "meaning", box=None)
        for key, option in fact["options"].items():
            table.add_row(key, escape(repr(option["default"])), escape(option["description"]))
        stdout().print(table)


def _facts(p: Provided) -> dict[str, Any]:
    return {
        "id": p.id,
        "summary": p.record.summary,
        "plugin": p.plugin,
        "distribution": p.distribution,
        "version": p.version,
        "options": {
            key: {
                "type": str(field.annotation).replace("typing.", ""),
                "default": field.get_default(call_default_factory=True),
                "description": field.description,
                "changes_results": not is_tuning(field.json_schema_extra),
            }
            for key, field in p.record.options.model_fields.items()
        },
    }
