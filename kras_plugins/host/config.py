"""Settings: defaults < kras.toml < `-o kind.name.key=value`; every value is checked by the plug-in's own model."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic

from kras_plugins.contracts.base import Options, PluginRecord
from kras_plugins.errors import ConfigError, as_kras_error
from kras_plugins.hookspecs import KINDS


class RunTable(pydantic.BaseModel):
    """The table `[run]` of kras.toml: what the command line may leave out."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    cohort: str | None = None
    extractor: str | None = None
    profiler: str | None = None
    classifiers: str | list[str] | None = None
    backend: str | None = None
    target: str | None = None
    out: str | None = None
    cache: str | None = None
    folds: int | None = pydantic.Field(None, ge=2)
    repeats: int | None = pydantic.Field(None, ge=1)
    splits: Literal["random", "site"] | None = None
    seed: int | None = pydantic.Field(None, ge=0)
    folds_file: str | None = None
    fusion: Literal["logit", "probability", "stacked", "rank"] | None = None
    target_sensitivity: float | None = pydantic.Field(None, gt=0, le=1)
    target_specificity: float | None = pydantic.Field(None, gt=0, le=1)
    risk_control: bool | None = None
    prevalences: list[float] | None = None
    covariates: str | None = None
    clinical: list[str] | None = None
    til_feature: str | None = None
    subgroups: list[str] | None = None
    confounders: list[str] | None = None
    workers: int | None = pydantic.Field(None, ge=0)
    deadline: float | None = pydantic.Field(None, ge=0)
    import_deadline: float | None = pydantic.Field(None, ge=0)
    block: list[str] | None = None
    plugins: list[str] | None = None
    demonstration: list[str] | None = None


@dataclass(frozen=True)
class Config:
    """One resolved configuration: `run` holds the table of that name, `options[kind][name]` the plug-ins' own."""

    run: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    source: Path | None = None

    def options_for(self, kind: str, record: PluginRecord) -> Options:
        """The record's options with what the configuration sets; ConfigError names the key and the cause."""
        values = dict(self.options.get(kind, {}).get(record.name, {}))
        try:
            return record.options.model_validate(values)
        except pydantic.ValidationError as e:
            raise ConfigError(*_explain(kind, record, e)) from e
        except Exception as e:  # a check of the plug-in's own
            raise as_kras_error(f"{kind} {record.name!r} of {record.origin}", e, "on its options") from e

    def path(self, name: str) -> Path | None:
        """A path of the table `run`, relative to the file that states it."""
        value = self.run.get(name)
        if value is None:
            return None
        return (self.source.parent if self.source else Path()) / str(value)


def load_config(file: Path | None, overrides: Iterable[str] = ()) -> Config:
    """Read `file` (or kras.toml in the current folder, if there) and apply `kind.name.key=value` overrides.

    Values of overrides are read as TOML where they parse (true, 0.5, [1, 2]) and as text otherwise. Raises ConfigError
    on an unreadable file, an unknown setting or a malformed override.
    """
    if file is None and Path("kras.toml").is_file():
        file = Path("kras.toml")
    table = _read_toml(file) if file else {}
    run: dict[str, Any] = {}
    options: dict[str, dict[str, dict[str, Any]]] = {}
    for key, value in table.items():
        if key in KINDS and isinstance(value, dict):
            for name, entries in value.items():
                if not isinstance(entries, dict):
                    raise ConfigError(f"{file}: {key}.{name} is not a table", f"write [{key}.{name}]")
                options.setdefault(key, {})[name] = dict(entries)
        elif key == "run" and isinstance(value, dict):
            run = _run_table(value, file)
        else:
            raise ConfigError(f"{file}: unknown table {key!r}", _did_you_mean(key, {"run", *KINDS}))
    for override in overrides:
        path, separator, text = override.partition("=")
        parts = path.strip().split(".", 2)
        if not separator or len(parts) != 3 or parts[0] not in KINDS:
            raise ConfigError(
                f"-o {override}: not of the form kind.name.key=value",
                f"kinds: {', '.join(KINDS)}; for example -o extractor.vit.model=vit_small_patch16_224",
            )
        kind, name, key = parts
        options.setdefault(kind, {}).setdefault(name, {})[key] = _toml_value(text.strip())
    return Config(run, options, file)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{file}: {e.strerror}", "check the path given to --config") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file}: not valid TOML: {e}", "mend the line it names") from e


def _run_table(value: Mapping[str, Any], file: Path | None) -> dict[str, Any]:
    try:
        return RunTable.model_validate(value).model_dump(exclude_none=True)
    except pydantic.ValidationError as e:
        first = e.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{file}: unknown setting run.{key}", _did_you_mean(key, RunTable.model_fields)) from e
        raise ConfigError(f"{file}: run.{key}: {first['msg']}", f"correct it; it is {first['input']!r}") from e


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(sorted(known))}"


def _explain(kind: str, record: PluginRecord, error: pydantic.ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"{kind}.{record.name}.{key}" if key else f"{kind}.{record.name}"
    if first["type"] == "extra_forbidden":
        return f"unknown option {where}", _did_you_mean(key, record.options.model_fields)
    return f"{where}: {first['msg']}", f"see `kras plugin show {kind}:{record.name}`"
