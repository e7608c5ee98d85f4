"""Find plug-ins, keep the broken ones from taking the others down, hand out records by kind and name."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from kras_plugins import hookspecs
from kras_plugins.contracts.base import PluginRecord
from kras_plugins.errors import ConfigError, PluginError
from kras_plugins.hookspecs import GROUP, KINDS

R = TypeVar("R", bound=PluginRecord)


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
    """A plug-in or record that cannot be used, and why."""

    plugin: str
    distribution: str
    version: str
    cause: str


class Registry:
    """All plug-ins of one session. Immutable after `discover`."""

    def __init__(self, provided: Sequence[Provided], broken: Sequence[Broken], blocked: Sequence[str]) -> None:
        self.provided = tuple(sorted(provided, key=lambda p: (p.kind, p.record.name)))
        self.broken = tuple(broken)
        self.blocked = tuple(blocked)

    def names(self, kind: str) -> list[str]:
        """Names of a kind, sorted."""
        return [p.record.name for p in self.provided if p.kind == kind]

    def find(self, kind: str, name: str) -> Provided:
        """The provider of `kind:name`; ConfigError with a suggestion when there is none."""
        for p in self.provided:
            if p.kind == kind and p.record.name == name:
                return p
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


def discover(block: Iterable[str] = (), files: Iterable[Path] = ()) -> Registry:
    """Load every entry point of group `kras` and every loose file; a failing one is listed as broken.

    `block` (and the comma-separated KRAS_BLOCK) names entry points, distributions or `kind:name` to leave out.
    Two providers of one name are a ConfigError naming both.
    """
    blocked = {b.strip() for b in (*block, *os.environ.get("KRAS_BLOCK", "").split(",")) if b.strip()}
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    provided: list[Provided] = []
    broken: list[Broken] = []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: e.name):
        dist = entry.dist.name if entry.dist else "unknown"
        version = entry.dist.version if entry.dist else "unknown"
        if not blocked.isdisjoint({entry.name, dist}):
            continue
        _load(manager, entry.name, entry.load, dist, version, provided, broken)
    for path in files:
        _load(manager, path.stem, lambda path=path: import_file(path), str(path), "file", provided, broken)
    kept = [p for p in provided if f"{p.kind}:{p.record.name}" not in blocked]
    _refuse_clashes(kept)
    return Registry(kept, broken, sorted(blocked))


def _load(
    manager: pluggy.PluginManager,
    name: str,
    load: Any,
    dist: str,
    version: str,
    provided: list[Provided],
    broken: list[Broken],
) -> None:
    """Import and register one plug-in and collect its records; any failure becomes a Broken."""
    found: list[Provided] = []
    try:
        plugin = load()
        _check_hook_names(plugin)
        manager.register(plugin, name=name)
        for kind, record_type in KINDS.items():
            # Each implementation is called by itself: pluggy's own call stops at the first exception.
            for impl in getattr(manager.hook, f"kras_{kind}s").get_hookimpls():
                if impl.plugin_name != name:
                    continue
                for record in impl.function():
                    if not isinstance(record, record_type):
                        raise PluginError(f"kras_{kind}s yielded {record!r}", f"yield {record_type.__name__} records")
                    found.append(Provided(kind=kind, record=record, plugin=name, distribution=dist, version=version))
        if not found:
            raise PluginError("it implements none of the hooks", f"hooks: {', '.join(f'kras_{k}s' for k in KINDS)}")
    except (Exception, SystemExit) as e:  # noqa: BLE001 - a plug-in may fail in any way; the others go on
        broken.append(Broken(plugin=name, distribution=dist, version=version, cause=f"{type(e).__name__}: {e}"))
        if manager.has_plugin(name):
            manager.unregister(name=name)
    else:
        provided.extend(found)


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
    name = f"kras_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file", "a loose plug-in ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _refuse_clashes(provided: Sequence[Provided]) -> None:
    seen: dict[tuple[str, str], Provided] = {}
    for p in provided:
        other = seen.setdefault((p.kind, p.record.name), p)
        if other is not p:
            raise ConfigError(
                f"{p.kind} {p.record.name!r} is provided twice: by {other.plugin} ({other.distribution} "
                f"{other.version}) and by {p.plugin} ({p.distribution} {p.version})",
                f"uninstall one or block it: KRAS_BLOCK={p.plugin}",
            )
