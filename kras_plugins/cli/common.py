"""What all commands share: options, the session, errors as one line with a hint, exit codes."""

from __future__ import annotations

import functools
import json
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from kras_plugins.cli.output import own_stdout, results
from kras_plugins.errors import NO_ROOM, KrasError
from kras_plugins.host.config import Config, load_config
from kras_plugins.host.isolation import DEADLINE, set_deadline
from kras_plugins.host.manager import IMPORT_SECONDS, Broken, Registry, discover
from kras_plugins.store import Store

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")

EXIT_ERROR, EXIT_SET_ASIDE, EXIT_INTERRUPTED = 1, 3, 130

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="settings file; kras.toml in the current folder is read by itself"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="KIND.NAME.KEY=VALUE", help="set one option of a plug-in"),
]
PluginFiles = Annotated[list[Path] | None, typer.Option("--plugin", help="a Python file that is a plug-in")]
CacheFolder = Annotated[Path | None, typer.Option("--cache", help="where intermediate results are kept and reused")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable result on stdout; progress stays on stderr")]
Backend = Annotated[str | None, typer.Option("--backend", help="where networks run [default: local]")]
Reader = Annotated[str | None, typer.Option("--reader", help="read slides with this reader only")]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="worker processes, 0 for one a core")]


@dataclass(frozen=True)
class Session:
    """One command's settings, plug-ins and store."""

    config: Config
    registry: Registry
    store: Store
    plugin_files: tuple[Path, ...] = ()

    def setting(self, name: str, given: Any, default: Any) -> Any:
        """A top-level setting: given on the command line, else in kras.toml, else the default."""
        return given if given is not None else self.config.run.get(name, default)


def escape(text: object) -> str:
    """Text that rich prints as it is."""
    from rich.markup import escape as escaped

    return escaped(str(text))


def open_session(
    config: Path | None,
    overrides: Sequence[str] | None,
    plugins: Sequence[Path] | None,
    cache: Path | None = None,
    tell: Callable[[Broken], None] | None = None,
) -> Session:
    """Read the settings and find the plug-ins; one that is broken is told (on stderr, or to `tell`) and left out."""
    settings = load_config(config, overrides or ())
    root = cache or settings.path("cache")
    if root is not None and (cache is not None or not os.environ.get("KRAS_CACHE")):
        os.environ["KRAS_CACHE"] = str(root.resolve())  # backends and worker processes find the store here
    files = [*(plugins or ()), *(Path(p) for p in settings.run.get("plugins", ()))]
    set_deadline(settings.run.get("deadline", DEADLINE))
    seconds = settings.run.get("import_deadline", IMPORT_SECONDS)
    registry = discover(settings.run.get("block", ()), files, seconds)
    for broken in registry.broken:
        (tell or _tell_broken)(broken)
        if debugging():
            stderr().print(broken.trace, markup=False)
    for kind, named in settings.options.items():
        for name in named:  # options of a plug-in that is not there would be ignored without a word
            settings.options_for(kind, registry.find(kind, name).record)
    return Session(settings, registry, Store(), tuple(files))


def _tell_broken(broken: Broken) -> None:
    cause = escape(f"{broken.distribution} {broken.version}: {broken.cause}")
    stderr().print(f"[yellow]plug-in {escape(broken.plugin)} is left out:[/] {cause}")


def debugging() -> bool:
    """Whether the tracebacks behind errors are to be shown."""
    return bool(os.environ.get("KRAS_DEBUG"))


def show_trace(error: BaseException) -> None:
    """Show where an error came from, if asked to by KRAS_DEBUG."""
    if debugging():
        stderr().print("".join(traceback.format_exception(error)), markup=False)


@functools.cache
def stderr() -> Console:
    """The console for progress, warnings and errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, file=results())


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    results().write(json.dumps(value, indent=1, default=str) + "\n")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """KrasError: one line, a hint and exit code 1. Ctrl-C: exit code 130. A bug keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with own_stdout():
                function(*args, **kwargs)
        except KrasError as e:
            show_trace(e)
            stderr().print(f"[bold red]error:[/] {escape(e.message)}")
            if e.hint:
                stderr().print(f"[bold]hint:[/] {escape(e.hint)}")
            raise typer.Exit(EXIT_ERROR) from e
        except OSError as e:
            if e.errno not in NO_ROOM:
                raise
            stderr().print(f"[bold red]error:[/] cannot write {escape(str(e.filename or ''))}: {e.strerror}")
            stderr().print("[bold]hint:[/] free disk space, or choose another folder; what is finished is kept")
            raise typer.Exit(EXIT_ERROR) from e
        except KeyboardInterrupt as e:
            stderr().print("interrupted; what is finished is kept, run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED) from e

    return wrapped
