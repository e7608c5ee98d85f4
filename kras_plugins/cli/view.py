"""`kras view`: slides, and what was found in them, in the browser."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import stderr, stdout
from kras_plugins.cli.options import Plugins, Reader
from kras_plugins.errors import ConfigError


@command
def view(
    given: Annotated[
        list[Path],
        typer.Argument(metavar="SLIDE", help="slide files, or the folder of a predict, profile, run or evaluate"),
    ],
    slides: Annotated[
        Path | None, typer.Option(metavar="FILE", help="folder or cohort CSV of slides moved since the run")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="where to listen on loopback, 0 for a free port")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="print the address, open no browser")] = False,
    reader: Reader = None,
    plugins: Plugins = Plugins(),
) -> None:
    """Look at slides and results in the browser, until Ctrl-C.

    Only somebody on this machine who has the printed address can look. Nothing is loaded from elsewhere.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as e:
        raise ConfigError(f"kras view needs packages that are not installed: {e}", 'pip install "kras[view]"') from e
    from kras_plugins.viewer.found import find_shown
    from kras_plugins.viewer.server import serve

    def announce(address: str) -> None:
        stdout().print(address, markup=False, soft_wrap=True)
        stderr().print("Ctrl-C ends it", markup=False)

    shown = find_shown(plugins.session(reader=reader), given, slides)
    for told in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, or a service manager; a shell may have set it to be ignored
        signal.signal(told, lambda *_: sys.exit(0))
    serve(shown, port, browser=not no_browser, announce=announce)
