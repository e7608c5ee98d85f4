"""`kras doctor`: is this machine fit for a run, and what would make it faster."""

from __future__ import annotations

from dataclasses import asdict

import typer

from kras_plugins.cli.command import EXIT_ERROR, command
from kras_plugins.cli.console import escape, print_json, stdout
from kras_plugins.cli.options import AsJson, Extractor, Plugins, Profiler

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@command
def doctor(
    extractor: Extractor = None, profiler: Profiler = None, plugins: Plugins = Plugins(), as_json: AsJson = False
) -> None:
    """Check whether this machine is fit for a run.

    Ends with exit code 1 if something is missing that `kras run` needs with the same settings: a library does not
    load, the store cannot be written, a plug-in is broken, or weights of an extractor or the profiler are absent.
    Absent weights of other models, and little free disk space, are warnings.
    """
    from kras_plugins.host.fitness import check_machine
    from kras_plugins.study.notify import SILENT

    session = plugins.session(SILENT, extractor=extractor, profiler=profiler)  # broken plug-ins are among the checks
    chosen = [*(("extractor", name) for name in session.settings.extractors), ("profiler", session.settings.profiler)]
    checks = list(check_machine(session.registry, session.config, session.store.place, chosen))
    if as_json:
        print_json([asdict(c) for c in checks])
    else:
        for c in checks:
            stdout().print(f"[{_COLORS[c.state]}]{c.state:4}[/] {c.what:12} {escape(c.found)}")
    if any(c.state == "fail" for c in checks):
        raise typer.Exit(EXIT_ERROR)
