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
        bool, typer.Option("--editable", "-e", help="use folders where they lie: what is changed there counts")
    ] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="take newer versions of what is installed")] = False,
    as_json: AsJson = False,
) -> None:
    """Install plug-ins where this kras runs, by pip, uv or pipx.

    Whichever made the environment is used, and printed before it runs. kras itself keeps its version. A plug-in is
    code that runs as you do: install what you trust.
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
        stderr().print("no plug-in is new: it was there, or what was installed has none", markup=False)
    if brought.note:
        stderr().print(f"note: {brought.note}", markup=False)
