"""`kras plugin install`: plug-ins into the environment that this `kras` runs in."""

from __future__ import annotations

from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import print_json, stderr, stdout
from kras_plugins.cli.options import AsJson


@command
def install(
    what: Annotated[
        list[str], typer.Argument(metavar="WHAT", help="names in the package index, folders, wheels or addresses")
    ],
    editable: Annotated[
        bool, typer.Option("--editable", "-e", help="use folders in place: later changes take effect")
    ] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="replace installed versions by newer ones")] = False,
    as_json: AsJson = False,
) -> None:
    """Install plug-ins next to kras, with pip, uv or pipx.

    The program that made the environment is used, and its command is shown first. kras itself keeps its version. A
    plug-in is code that runs with your rights: install only what you trust.
    """
    from kras_plugins.host.installing import install as bring

    brought = bring(
        what,
        editable=editable,
        upgrade=upgrade,
        say=lambda line: stderr().print(f"running {line}", markup=False, soft_wrap=True),
    )
    if as_json:
        print_json({"plugins": brought.plugins})
    for plugin in () if as_json else brought.plugins:
        text = f"{plugin['kind']} {plugin['name']}, from {plugin['distribution']} {plugin['version']}"
        stdout().print(text, markup=False, soft_wrap=True)
    if not brought.plugins:
        stderr().print("no new plug-in: it was already there, or what was installed contains none", markup=False)
    if brought.note:
        stderr().print(f"note: {brought.note}", markup=False)
