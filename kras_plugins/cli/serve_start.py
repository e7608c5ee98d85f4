"""`kras serve BUNDLE`: cases arrive, are scored and are viewed, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kras_plugins.cli.command import command
from kras_plugins.cli.console import stderr, stdout
from kras_plugins.cli.serve_options import DATA, Kept, Reached, Scored, Taken, Told
from kras_plugins.errors import ConfigError, UsageError

NEEDED = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "multipart", "prometheus_client", "reportlab", "highdicom")


@command
def start(
    bundles: Annotated[
        list[Path] | None, typer.Argument(metavar="BUNDLE", help="bundle folders; the first is the locked one")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="ten synthetic cases; a bundle is trained for them once")
    ] = False,
    silent: Annotated[
        list[Path] | None,
        typer.Option("--silent", metavar="BUNDLE", help="a bundle that scores the same cases, shown to admins only"),
    ] = None,
    kept: Kept = Kept(),
    taken: Taken = Taken(),
    reached: Reached = Reached(),
    scored: Scored = Scored(),
    told: Told = Told(),
) -> None:
    """Start the service, until Ctrl-C.

    Research use only. Slides come from a watched folder, over HTTP and from `kras serve submit`; people look in the
    browser, at the address that is printed.
    """
    need()
    from kras_plugins.cli.progress import progress
    from kras_plugins.service.api.reach import Reach
    from kras_plugins.service.demo import prepared, submitted
    from kras_plugins.service.operations.logs import json_logs
    from kras_plugins.service.running import Ending, run
    from kras_plugins.service.settings import ServiceSettings

    if demo == bool(bundles):
        raise UsageError("name a bundle, or --demo", "kras serve kras-out/cohort/bundle")
    reach = Reach(
        host=reached.host,
        port=reached.port,
        names=frozenset(reached.name or ()),
        proxy_header=reached.trust_proxy,
        proxies=frozenset(reached.proxy) if reached.proxy else Reach().proxies,
    )
    settings = ServiceSettings(
        data=kept.data,
        database=kept.database,
        bundles=tuple(bundles or ()),
        silent=tuple(silent or ()),
        watch=taken.watch,
        roots=tuple(taken.roots or ()),
        hosts=frozenset(taken.hosts or ()),
        pseudonyms=not taken.real_names,
        require_signature=scored.require_signature,
        name_pattern=taken.name_pattern,
        study=scored.study(),
    )
    shown = None
    if demo:
        with progress() as notify:
            shown = prepared(notify=notify)
        settings = shown.served(settings)
        if kept.data == DATA:  # not named: the cases of the demonstration stay with its bundle
            settings = replace(settings, data=shown.folder / "service")
    ending = Ending()
    for asked in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, or a service manager; a shell may have set it to be ignored
        signal.signal(asked, lambda *_: ending.ask())

    def announce(address: str) -> None:
        stdout().print(address, markup=False, soft_wrap=True)
        stderr().print(
            "Ctrl-C ends it once the cases in progress are finished; press it again to give them back", markup=False
        )

    begun = (lambda arrivals: None) if shown is None else (lambda arrivals: submitted(shown, arrivals))
    with json_logs(sys.stderr) if told.log_json else nullcontext():
        run(settings, reach, ending, workers=scored.workers, announce=announce, begun=begun, hook=told.hook())


def need() -> None:
    """ConfigError if the service cannot run: on Windows, or without its packages."""
    from importlib.util import find_spec

    if sys.platform == "win32":
        raise ConfigError("kras serve does not run on Windows", "run it in a container, or under WSL")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"kras serve needs packages that are not installed: {', '.join(missing)}", 'pip install "kras[service]"'
        )
