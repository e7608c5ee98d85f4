"""What a settings file may set that was found in the current folder and that nobody named or trusted.

It may set numbers, choices, names of installed plug-ins and, below its own folder, the cohort, other data and the
output folder. It may not set code, a store, a server, weights or any other place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kras_plugins.contracts.base import Options, is_location
from kras_plugins.errors import ConfigError
from kras_plugins.hookspecs import KINDS
from kras_plugins.host.manager import Registry
from kras_plugins.host.trust import was_trusted

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(?=\S)")
"""The beginning of an address, such as a model hub's; `classifier:rf` is a plug-in, `tumor: positive` a class."""

Named = tuple[str, str, str]
"""Kind, name and option of a plug-in."""


def check_run(run: Mapping[str, Any], file: Path, settings: type[Options]) -> None:
    """Raise ConfigError for a setting of `[run]` that a found file may not make."""
    for name, value in run.items():
        if _is_place(settings, name):
            raise _refused(file, f"run.{name}", "decides what runs, where data is kept or which servers are called,")
        _check_text(value, f"run.{name}", file)


def check_engine(table: Mapping[str, Any], file: Path) -> None:
    """Raise ConfigError for any option of an engine: it decides which machines are called and what runs there."""
    if table:
        raise _refused(file, "[engine.dask]", "decides which machines are called and what runs there,")


def check_options(options: Mapping[str, Mapping[str, Mapping[str, Any]]], file: Path) -> None:
    """Raise ConfigError for options of plug-ins whose text is a place outside the file's folder, or an address."""
    for kind, name, key in named(options):
        _check_text(options[kind][name][key], f"{kind}.{name}.{key}", file)


def check_places(registry: Registry, found: Mapping[Named, Path]) -> None:
    """Raise ConfigError for options of plug-ins that say where something lies; `found`: those of a found file."""
    for (kind, name, key), file in found.items():
        if name in registry.names(kind) and _is_place(registry.find(kind, name).record.options, key):
            raise _refused(
                file, f"{kind}.{name}.{key}", "decides what runs, where data is kept or which servers are called,"
            )


def named(options: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Named]:
    """Each option of a plug-in that is set."""
    for kind, plugins in options.items():
        for name, values in plugins.items():
            for key in values:
                yield kind, name, key


def _is_place(model: type[Options], key: str) -> bool:
    field = model.model_fields.get(key)
    return field is not None and is_location(field.json_schema_extra)


def _check_text(value: Any, name: str, file: Path) -> None:
    folder = os.path.realpath(file.parent)
    for text in _texts(value):
        if "://" in text or ((scheme := _SCHEME.match(text)) and scheme[1] not in KINDS):
            raise _refused(file, name, f"contains an address, {text!r},")
        for part in (text, *text.split(",")):
            if place := _outside(folder, part.strip()):
                raise _refused(file, name, f"leads outside its folder, to {place!r},")


def _outside(folder: str, text: str) -> str:
    """Where a path relative to a folder ends, links followed, if this is outside the folder; else ""."""
    if "\0" in text or text.startswith("~"):
        return text
    place = os.path.realpath(os.path.join(folder, text))
    return "" if Path(place).is_relative_to(folder) else place


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _refused(file: Path, name: str, why: str) -> ConfigError:
    edited = "; it was edited since you trusted it" if was_trusted(file) else ""
    return ConfigError(
        f"{file}: {name} {why} and this file was found here, not named{edited}",
        f"read it, then either trust it: `kras trust {file}`, or name it: `--config {file}`",
    )
