"""Find plug-ins, keep the broken ones from taking the others down, hand out records by kind and name."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pluggy

from kras_plugins import hookspecs
from kras_plugins.compatibility import check_distribution, check_file, check_module
from kras_plugins.contracts.base import API_VERSION, PluginRecord
from kras_plugins.errors import ConfigError, PluginError, described
from kras_plugins.hookspecs import GROUP, KINDS
from kras_plugins.isolation import ask_about, undisturbed

R = TypeVar("R", bound=PluginRecord)

IMPORT_SECONDS = 60.0
"""Seconds for importing a plug-in and asking for its records, unless the setting `import_deadline` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Provided:
    """A usable record and where it came from."""

    kind: str
    record: PluginRecord
    plugin: str
    distribution: str
    version: str

    @property
    def id(self) -> str:
        """What enters store keys and manifests: kind, name, distribution and the record's result version."""
        return f"{self.kind}:{self.record.name}@{self.distribution}/{self.record.result_version}"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A plug-in that cannot be used, and why; `trace` is where that happened, for its author."""

    plugin: str
    distribution: str
    version: str
    cause: str
    trace: str = ""

    def facts(self) -> dict[str, str]:
        """What is told and written down."""
        return {name: value for name, value in vars(self).items() if name != "trace"}


class Registry:
    """All plug-ins of one session. Immutable after `discover`."""

    def __init__(self, provided: Sequence[Provided], broken: Sequence[Broken], blocked: Sequence[str]) -> None:
        self.provided = tuple(sorted(provided, key=lambda p: (p.kind, p.record.name)))
        self.broken = tuple(broken)
        self.blocked = tuple(blocked)

    def names(self, kind: str) -> list[str]:
        """Names of a kind, sorted."""
        return sorted({p.record.name for p in self.provided if p.kind == kind})

    def clashes(self) -> list[ConfigError]:
        """The error that `find` raises, for each name that several plug-ins provide."""
        by_name = groupby(self.provided, key=lambda p: (p.kind, p.record.name))
        return [_clash(same) for _, found in by_name if len(same := list(found)) > 1]

    def find(self, kind: str, name: str) -> Provided:
        """The provider of `kind:name`; ConfigError with a suggestion when there is none, naming both when two."""
        found = [p for p in self.provided if p.kind == kind and p.record.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise _clash(found)
        near = difflib.get_close_matches(name, self.names(kind), n=1)
        known = ", ".join(self.names(kind)) or "none"
        hint = f"did you mean {near[0]!r}? " if near else ""
        blocked = f"; blocked: {', '.join(self.blocked)}" if self.blocked else ""
        causes = "".join(f"; {b.plugin} is broken: {b.cause}" for b in self.broken)
        raise ConfigError(f"there is no {kind} {name!r}", f"{hint}installed: {known}{blocked}{causes}")

    def record(self, kind: str, name: str, record_type: type[R]) -> R:
        """The record of `kind:name`, typed."""
        record = self.find(kind, name).record
        if not isinstance(record, record_type):
            raise PluginError(f"{kind} {name!r} is a {type(record).__name__}", "report this to its author")
        return record


def discover(block: Iterable[str] = (), files: Iterable[Path] = (), seconds: float | None = IMPORT_SECONDS) -> Registry:
    """Load every entry point of group `kras` and every loose file; a failing or hanging one is listed as broken.

    `block` (and the comma-separated KRAS_BLOCK) names entry points, distributions or `kind:name` to leave out.
    `seconds`: how long each may take. Of two providers of one name neither can be used: see `Registry.find`.
    """
    blocked = {b.strip() for b in (*block, *os.environ.get("KRAS_BLOCK", "").split(",")) if b.strip()}
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    provided: list[Provided] = []
    broken: list[Broken] = []
    sources: list[tuple[str, str, str, Callable[[], object]]] = []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: e.name):
        dist, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
        if blocked.isdisjoint({entry.name, dist}):
            sources.append((entry.name, dist, version, partial(_import_entry, entry)))
    sources += [(path.stem, str(path), "file", partial(import_file, path)) for path in files]
    for name, dist, version, load in sources:
        origin = dist if version == "file" else f"{dist} {version}"
        try:
            with undisturbed():
                records = ask_about(name, "", seconds or None, partial(_records, manager, name, load, origin))
        except PluginError as e:
            cause = str(e) if e.__cause__ is None else described(e.__cause__)
            if isinstance(e.__cause__, ImportError) and (e.__cause__.name or "").startswith("kras_plugins"):
                cause += f"; this kras has plug-in API {API_VERSION}: pip install -U kras may help"
            trace = "".join(traceback.format_exception(e.__cause__ or e))
            broken.append(Broken(plugin=name, distribution=dist, version=version, cause=cause, trace=trace))
        except ConfigError as e:
            broken.append(Broken(plugin=name, distribution=dist, version=version, cause=str(e)))
        else:
            provided += [
                Provided(kind=kind, record=record, plugin=name, distribution=dist, version=version)
                for kind, record in records
                if f"{kind}:{record.name}" not in blocked
            ]
    return Registry(provided, broken, sorted(blocked))


def _import_entry(entry: metadata.EntryPoint) -> object:
    if entry.dist is not None:
        check_distribution(entry.dist)
    check_module(entry.module)
    plugin: object = entry.load()
    return plugin


def _records(
    manager: pluggy.PluginManager, name: str, load: Callable[[], object], origin: str
) -> list[tuple[str, PluginRecord]]:
    """Import and register one plug-in and collect its records, each with its kind; it may fail in any way."""
    plugin = load()
    _check_hook_names(plugin)
    manager.register(plugin, name=name)
    found = []
    for kind, record_type in KINDS.items():
        # Each implementation is called by itself: pluggy's own call stops at the first exception.
        for impl in getattr(manager.hook, f"kras_{kind}s").get_hookimpls():
            if impl.plugin_name != name:
                continue
            for record in impl.function():
                if not isinstance(record, record_type):
                    raise PluginError(f"kras_{kind}s yielded {record!r}", f"yield {record_type.__name__} records")
                object.__setattr__(record, "origin", origin)  # a copy would derive anew what it derived already
                found.append((kind, record))
    if not found:
        raise PluginError("it implements none of the hooks", f"hooks: {', '.join(f'kras_{k}s' for k in KINDS)}")
    return found


def _check_hook_names(plugin: object) -> None:
    """Raise PluginError for a marked or `kras_`-named function that is no hook: misspelt hooks must not be silent."""
    hooks = {f"kras_{kind}s" for kind in KINDS}
    for name, value in inspect.getmembers(plugin, callable):
        if (hasattr(value, f"{GROUP}_impl") or name.startswith("kras_")) and name not in hooks:
            near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.0)[0]
            raise PluginError(f"{name} is not a hook", f"did you mean {near}?")
        if name in hooks and not hasattr(value, f"{GROUP}_impl"):
            raise PluginError(f"{name} is not marked", "decorate it with @kras_plugins.hookimpl")


def import_file(path: Path) -> ModuleType:
    """Import a loose plug-in file under a name of its own; ConfigError when it is not there or no Python file."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such plug-in file", "give the path of a Python file after --plugin")
    check_file(path)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file", "a loose plug-in ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def find_loose_files(paths: Iterable[Path]) -> None:
    """Let `import` find loose plug-in files, each when it is asked for: what a worker process is sent names them."""
    sys.meta_path.append(_LooseFiles({_module_name(path): path for path in paths}))


class _LooseFiles(MetaPathFinder):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self._files.get(name)
        return None if file is None else importlib.util.spec_from_file_location(name, file)


def _module_name(path: Path) -> str:
    return f"kras_file_{path.stem}"


def _clash(found: Sequence[Provided]) -> ConfigError:
    who = " and by ".join(f"{p.plugin} ({p.distribution} {p.version})" for p in found)
    return ConfigError(
        f"{found[0].kind} {found[0].record.name!r} is provided twice: by {who}",
        f"uninstall one or block it: KRAS_BLOCK={found[-1].plugin}",
    )
