"""`kras trust`: allow a settings file that is found in its folder to name code, servers and places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import escape, stdout


@command
def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a settings file")] = Path("kras.toml"),
    forget: Annotated[bool, typer.Option("--forget", help="stop trusting it")] = False,
) -> None:
    """Trust a settings file with its present content.

    Without this, a kras.toml that is found in the current folder, and not named by --config, may set numbers, choices,
    names of installed plug-ins and data of its own folder, but no code, weights, server or other place. The file's
    absolute path and sha256 are stored, so an edited file must be trusted again. KRAS_TRUST=1 trusts every file that
    is found.
    """
    from kras_plugins.host import trust as kept
    from kras_plugins.host.config import plugin_tables, read_toml

    if forget:
        stdout().print(f"forgotten in {escape(kept.forget(file))}: {escape(file.absolute())}")
        return
    tables, content = read_toml(file)
    plugin_tables(tables, file)
    stdout().print(f"trusted in {escape(kept.trust(file, content))}: {escape(file.absolute())}")
