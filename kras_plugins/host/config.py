"""Options of plug-ins, from kras.toml and `-o kind.name.key=value`; each plug-in's own model checks its values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from kras_plugins.contracts.base import Options, PluginRecord
from kras_plugins.errors import ConfigError, as_kras_error
from kras_plugins.files.regular import SETTINGS, parse_toml, regular
from kras_plugins.hookspecs import KINDS


@dataclass(frozen=True)
class Config:
    """Options of plug-ins as they were set: `options[kind][name][key]`, JSON values that are not checked yet."""

    options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    def options_for(self, kind: str, record: PluginRecord) -> Options:
        """The record's options with what the configuration sets; ConfigError names the key and the cause."""
        values = dict(self.options.get(kind, {}).get(record.name, {}))
        try:
            return record.options.model_validate(values)
        except pydantic.ValidationError as e:
            raise ConfigError(*_explain(kind, record, e)) from e
        except Exception as e:  # a check by the plug-in itself
            raise as_kras_error(f"{kind} {record.name!r} of {record.origin}", e, "on its options") from e

    def having(self, kind: str, name: str, options: Mapping[str, Any]) -> Config:
        """The same with more options of one plug-in, which override those it has."""
        mine = self.options.get(kind, {})
        return Config({**self.options, kind: {**mine, name: {**mine.get(name, {}), **options}}})


def load_config(file: Path | None, overrides: Iterable[str] = ()) -> Config:
    """The plug-ins' tables of a settings file (none for None), and `kind.name.key=value` overrides over them.

    Raises ConfigError on an unreadable file, an unknown table or a malformed override.
    """
    return overridden(Config(plugin_tables(read_toml(file)[0], file) if file else {}), overrides)


def plugin_tables(table: Mapping[str, Any], file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Tables `[kind.name]` of a settings file; ConfigError for anything that is neither such a table nor `[run]`."""
    options: dict[str, dict[str, dict[str, Any]]] = {}
    for key, value in table.items():
        if key in KINDS and isinstance(value, dict):
            for name, entries in value.items():
                if not isinstance(entries, dict):
                    raise ConfigError(f"{file}: {key}.{name} is not a table", f"write [{key}.{name}]")
                options.setdefault(key, {})[name] = dict(entries)
        elif key != "run" or not isinstance(value, dict):
            raise ConfigError(f"{file}: unknown table {key!r}", did_you_mean(key, {"run", *KINDS}))
    return options


def overridden(config: Config, overrides: Iterable[str]) -> Config:
    """The same with `kind.name.key=value` overrides, their values read as TOML if they parse and as text otherwise.

    Raises ConfigError for an override of another form.
    """
    for override in overrides:
        path, separator, text = override.partition("=")
        parts = path.strip().split(".", 2)
        if not separator or len(parts) != 3 or parts[0] not in KINDS:
            raise ConfigError(
                f"-o {override}: not of the form kind.name.key=value",
                f"kinds: {', '.join(KINDS)}; for example -o extractor.vit.model=vit_small_patch16_224",
            )
        kind, name, key = parts
        config = config.having(kind, name, {key: toml_value(text.strip())})
    return config


def read_toml(file: Path) -> tuple[dict[str, Any], bytes]:
    """A settings file's tables, and the bytes they were read from; ConfigError if they are not TOML."""
    try:
        content = regular(file, SETTINGS).read_bytes()
        return parse_toml(content.decode("utf-8")), content
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}", "check the path of the settings file") from e
    except ValueError as e:  # also for text that is not UTF-8
        raise ConfigError(f"{file}: not valid TOML: {e}", "correct the line it names") from e


def toml_value(text: str) -> Any:
    """What a value on the command line means: as TOML if it parses, else the text itself."""
    try:
        return parse_toml(f"v = {text}")["v"]
    except ValueError:
        return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(sorted(known))}"


def _explain(kind: str, record: PluginRecord, error: pydantic.ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"{kind}.{record.name}.{key}" if key else f"{kind}.{record.name}"
    if first["type"] == "extra_forbidden":
        return f"unknown option {where}", did_you_mean(key, record.options.model_fields)
    return f"{where}: {first['msg']}", f"see `kras plugin show {kind}:{record.name}`"
