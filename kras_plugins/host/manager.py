"""Find plug-ins, keep broken ones from affecting the others, provide records by kind and name."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import pluggy

from kras_plugins import hookspecs
from kras_plugins.contracts.base import API_VERSION, PluginRecord
from kras_plugins.errors import ConfigError, KrasError, PluginError, described
from kras_plugins.hookspecs import GROUP, KINDS
from kras_plugins.host.compatibility import check_distribution, check_module
from kras_plugins.host.isolation import Overdue, ask_about, undisturbed
from kras_plugins.host.loose_files import import_file

R = TypeVar("R", bound=PluginRecord)

IMPORT_SECONDS = 60.0
"""Seconds for importing a plug-in and asking for its records, unless the setting `import_deadline` is given."""


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

    @property
    def origin(self) -> str:
        """Where it comes from, for people: the distribution and its version, or the file."""
        return _origin(self.distribution, self.version)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A plug-in that cannot be used, and why; `trace` is the traceback, for its author."""

    plugin: str
    distribution: str
    version: str
    cause: str
    trace: str = ""

    def facts(self) -> dict[str, str]:
        """What is printed and recorded."""
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
        """The provider of `kind:name`; ConfigError with a suggestion if there is none, naming both if there are two."""
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


def discover(
    block: Iterable[str] = (),
    files: Iterable[Path] = (),
    seconds: float | None = IMPORT_SECONDS,
    called: Mapping[Path, str] | None = None,
) -> Registry:
    """Load every entry point of group `kras` and every loose file; a failing or hanging one is listed as broken.

    `block` (and the comma-separated KRAS_BLOCK) names entry points, distributions or `kind:name` to leave out.
    `seconds`: how long each may take. `called`: the path of a loose file on the machine that it was copied from, which
    identifies its results. If two providers share a name, neither can be used: see `Registry.find`.
    """
    blocked = {b.strip() for b in (*block, *os.environ.get("KRAS_BLOCK", "").split(",")) if b.strip()}
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    provided: list[Provided] = []
    broken: list[Broken] = []
    entries, unreadable = _entries()
    broken += unreadable
    for source in _sources(entries, files, blocked, called or {}):
        if os.environ.get("KRAS_DEBUG"):  # a plug-in that ends the process at import leaves no other trace
            print(f"importing plug-in {source.plugin} of {source.origin}", file=sys.stderr, flush=True)
        try:
            with undisturbed():
                records = ask_about(source.plugin, "", seconds or None, partial(_records, manager, source))
        except KrasError as e:
            cause, trace = _why(e, seconds)
            broken.append(Broken(**source.facts(), cause=cause, trace=trace))
        else:
            provided += [
                Provided(**source.facts(), kind=kind, record=record)
                for kind, record in records
                if f"{kind}:{record.name}" not in blocked
            ]
    return Registry(provided, broken, sorted(blocked))


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What may turn out to be a plug-in, and how it is loaded."""

    plugin: str
    distribution: str
    version: str
    load: Callable[[], object]

    def facts(self) -> dict[str, str]:
        return {"plugin": self.plugin, "distribution": self.distribution, "version": self.version}

    @property
    def origin(self) -> str:
        return _origin(self.distribution, self.version)


def _origin(distribution: str, version: str) -> str:
    return distribution if version == "file" else f"{distribution} {version}"


def _entries() -> tuple[list[metadata.EntryPoint], list[Broken]]:
    """The entry points of all distributions, and the distributions whose list of them cannot be read."""
    try:
        return list(metadata.entry_points(group=GROUP)), []
    except Exception:  # noqa: BLE001 - it stops at the first such list, and does not say whose it is
        pass
    found, broken = [], []
    for dist in metadata.distributions():
        try:
            found += dist.entry_points.select(group=GROUP)
        except Exception as e:  # noqa: BLE001 - whatever its parser says of a damaged file
            name, version = _named(dist)
            cause = f"its entry_points.txt cannot be read: {described(e)}; install {name} again"
            broken.append(Broken(plugin=name, distribution=name, version=version, cause=cause))
    return found, broken


def _named(dist: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version of a distribution, `unknown` where its metadata do not tell or cannot be read."""
    try:
        stated = (dist.metadata["Name"], dist.metadata["Version"]) if dist else (None, None)
    except Exception:  # noqa: BLE001 - loading the plug-in says why
        stated = (None, None)
    return stated[0] or "unknown", stated[1] or "unknown"


def _sources(
    entries: Iterable[metadata.EntryPoint], files: Iterable[Path], blocked: Container[str], called: Mapping[Path, str]
) -> Iterator[_Source]:
    for entry in sorted(entries, key=lambda e: e.name):
        dist, version = _named(entry.dist)
        if entry.name not in blocked and dist not in blocked:
            yield _Source(plugin=entry.name, distribution=dist, version=version, load=partial(_import_entry, entry))
    for path in files:
        place = called.get(path, str(path))
        yield _Source(plugin=path.stem, distribution=place, version="file", load=partial(import_file, path))


def _why(error: KrasError, seconds: float | None) -> tuple[str, str]:
    """Why a plug-in is broken, on one line, and its traceback."""
    cause = error.__cause__
    if isinstance(error, Overdue):
        return f"no answer for {seconds:g} s at import; if it is only slow, raise `import_deadline` in [run]", ""
    if cause is None:
        return str(error), ""
    why = described(cause)
    if isinstance(cause, ImportError) and (cause.name or "").startswith("kras_plugins"):
        why += f"; this kras has plug-in API {API_VERSION}: pip install -U kras may help"
    return why, "".join(traceback.format_exception(cause))


def _import_entry(entry: metadata.EntryPoint) -> object:
    if entry.dist is not None:
        check_distribution(entry.dist)
    check_module(entry.module)
    plugin: object = entry.load()
    return plugin


def _records(manager: pluggy.PluginManager, source: _Source) -> list[tuple[str, PluginRecord]]:
    """Import and register one plug-in and collect its records, each with its kind; it may fail in any way."""
    plugin = source.load()
    _check_hook_names(plugin)
    manager.register(plugin, name=source.plugin)
    found, asked = [], False
    for kind, record_type in KINDS.items():
        # Each implementation is called separately: pluggy's own call stops at the first exception.
        for impl in getattr(manager.hook, f"kras_{kind}s").get_hookimpls():
            if impl.plugin_name != source.plugin:
                continue
            asked, records = True, impl.function()
            if isinstance(records, PluginRecord):
                raise PluginError(f"kras_{kind}s returned a record", "yield it")
            for record in records:
                if not isinstance(record, record_type):
                    raise PluginError(f"kras_{kind}s yielded {record!r}", f"yield {record_type.__name__} records")
                found.append((kind, replace(record, origin=source.origin)))  # until API 2
    if not found and asked:
        raise PluginError("its hooks yield nothing", "yield at least one record")
    if not found:
        raise PluginError("it implements none of the hooks", f"hooks: {', '.join(f'kras_{k}s' for k in KINDS)}")
    return found


def _check_hook_names(plugin: object) -> None:
    """Raise PluginError for a marked or `kras_`-named function that is no hook: misspelled hooks must not pass."""
    hooks = {f"kras_{kind}s" for kind in KINDS}
    for name, value in inspect.getmembers(plugin, callable):
        if (hasattr(value, f"{GROUP}_impl") or name.startswith("kras_")) and name not in hooks:
            near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.0)[0]
            raise PluginError(f"{name} is not a hook", f"did you mean {near}?")
        if name in hooks and not hasattr(value, f"{GROUP}_impl"):
            raise PluginError(f"{name} is not marked", "decorate it with @kras_plugins.hookimpl")


def _clash(found: Sequence[Provided]) -> ConfigError:
    who = " and by ".join(f"{p.plugin} ({p.distribution} {p.version})" for p in found)
    return ConfigError(
        f"{found[0].kind} {found[0].record.name!r} is provided twice: by {who}",
        f"uninstall one or block it: KRAS_BLOCK={found[-1].plugin}",
    )
