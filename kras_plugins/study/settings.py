"""The settings of a study, each with its default, for Python, `kras.toml` and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field, PrivateAttr

from kras_plugins.cohort.histology import Histology, word_map
from kras_plugins.cohort.splits import Scheme
from kras_plugins.contracts.base import Options, location, tuning
from kras_plugins.engines.options import DaskOptions, dask_options
from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.thresholds import DEFAULT, Targets
from kras_plugins.host.config import Config, did_you_mean, overridden, plugin_tables, read_toml
from kras_plugins.host.isolation import DEADLINE
from kras_plugins.host.manager import IMPORT_SECONDS
from kras_plugins.host.trust import is_trusted
from kras_plugins.learning.fusion import Kind as Fusion
from kras_plugins.study.found import Named, check_engine, check_options, check_run, named
from kras_plugins.urls import Url, place, without_credentials

FOUND = Path("kras.toml")
"""The settings file that is read if none is named."""

Names = Annotated[tuple[str, ...], Field(strict=False)]
Verdict = Literal["interval", "permutation"]
"""What decides whether the ensemble ranks better than chance: its interval, or also refits with permuted labels."""
File = Annotated[Path, Field(strict=False)]
Files = Annotated[tuple[File, ...], Field(strict=False)]
Place = Annotated[
    Path | Url,
    pydantic.PlainValidator(place),
    pydantic.PlainSerializer(str, when_used="json"),
    pydantic.WithJsonSchema({"type": "string"}),
]
"""A folder, or a URL, which is shown without credentials wherever settings are reported."""

_SHOWN = 200
"""Characters of a wrong value that its error shows."""
_LONGEST = 10_000_000
"""The longest deadline in seconds: longer ones overflow the functions that wait."""
_BY_FILE = frozenset({"folds", "repeats", "splits"})
"""The settings that a file of folds decides."""
_ONE_PATH = frozenset({"cohort", "out", "cache", "folds_file", "covariates", "pseudonyms"})
_CALLED = {"target_sensitivity": "sensitivity", "target_specificity": "specificity", "prevalences": "prevalence"}
"""Settings whose option has another name."""


class StudySettings(Options):
    """All settings of a study, frozen and checked; those marked as tuning change no result.

    Make one in Python, or with `load` as the command line does. `options[kind][name][key]` are options of plug-ins;
    each plug-in checks its own when the study begins. Raises pydantic's ValidationError for an invalid value.

    Example:
        >>> from kras_plugins import study
        >>> settings = study.StudySettings(classifiers=("mlp", "rf"), folds=3)
        >>> settings.classifiers, settings.target_sensitivity
        (('mlp', 'rf'), 0.9)
    """

    model_config = pydantic.ConfigDict(strict=True)

    cohort: File | None = tuning(None, description="cohort CSV, one row per slide")
    extractor: str = Field(
        default="vit", description="feature extractor, or several, comma-separated: each adds its own members"
    )
    profiler: str = Field(default="cells", description="profiler of cells and tissue")
    classifiers: Names = Field(default=("he", "mlp", "rf"), description="classifiers of the ensemble, comma-separated")
    target: str = Field(default="g12c", description="column of 0 and 1 to predict")
    folds: int = Field(default=5, ge=2, le=1000, description="outer folds")
    repeats: int = Field(default=1, ge=1, le=1000, description="repeats of the cross-validation")
    splits: Scheme = Field(default="random", description="random, or each site as a whole in one fold")
    folds_file: File | None = Field(default=None, description="outer folds as `kras cohort split` writes them")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of splits and fits")
    fusion: Fusion = Field(
        default="logit",
        description="how members become one score: mean logit, mean probability, stacked logistic regression, rank",
    )
    verdict: Verdict = Field(
        default="interval",
        description="permutation: also test by refits with labels permuted within histology (and site)",
    )
    permutations: int = Field(default=99, ge=19, le=9999, description="number of refits of verdict permutation")
    target_sensitivity: float = Field(
        default=DEFAULT.sensitivity, gt=0, le=1, description="sensitivity of the rule-out threshold, in training"
    )
    target_specificity: float = Field(
        default=DEFAULT.specificity, gt=0, le=1, description="specificity of the rule-in threshold, in training"
    )
    risk_control: bool = Field(
        default=DEFAULT.risk_control,
        description="also look for a threshold with guaranteed sensitivity (needs kras[risk])",
    )
    prevalences: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        default=(), description="also report predictive values at these prevalences"
    )
    covariates: File | None = Field(
        default=None,
        description="CSV with more data on patients, for evaluation only: co-mutations, stage, purity",
    )
    histologies: dict[str, Histology] = Field(
        default_factory=dict,
        description="table of what words for a histology mean, which overrides how kras understands them",
    )
    clinical: Names | None = Field(
        default=None,
        description="columns of the clinical baseline; else recognized names: sex, age, stage, smoking, specimen …",
    )
    til_feature: str | None = Field(
        default=None,
        description="the lymphocyte density that `til_only` ranks by; else `til_ta`, or a feature named like one",
    )
    subgroups: Names | None = Field(
        default=None, description="columns of the subgroup table; else histology, specimen, assay, site"
    )
    confounders: Names | None = Field(
        default=None, description="columns of the confounder table; else all that are not a label, outcome or id"
    )
    demonstration: Names = Field(default=(), description="sentences that a report of made-up data begins with")
    backend: str = Field(default="local", description="where networks run")
    reader: str | None = Field(default=None, description="read slides with this reader only")
    mpp: float | None = Field(
        default=None, gt=0, description="µm per pixel of files that state none (PNG, JPEG); 20x: 0.5, 40x: 0.25"
    )
    field: bool | None = Field(
        default=None,
        description="treat all files, or none, as fields of view or tissue cores; else those up to 6.25 mm²",
    )
    options: dict[str, dict[str, dict[str, Any]]] = Field(
        default_factory=dict, description="options of plug-ins, by kind and name"
    )
    out: File | None = tuning(None, description="folder to write into; else kras-out/<cohort>")
    cache: Place | None = location(
        None,
        description="where intermediate results are kept and reused: a folder, or s3://, gs://, az://bucket/prefix",
    )
    engine: Literal["local", "dask"] = location(
        "local", description="where slides are processed and classifiers fitted: this machine, or Dask workers"
    )
    dask: DaskOptions = location(DaskOptions(), description="which Dask scheduler or cluster, and how tasks are sent")
    workers: int = tuning(0, ge=0, le=1000, description="worker processes, 0 for one per core")
    pseudonyms: File | None = location(
        None, description="replace ids and slide names by pseudonyms; FILE has the key and the names, made if absent"
    )
    plugins: Files = location((), description="Python files that are plug-ins")
    block: Names = tuning(
        (),
        description="plug-ins to leave out: entry points, distributions or `kind:name`; also `KRAS_BLOCK`, with commas",
    )
    require_signature: bool = tuning(False, description="refuse a bundle that no trusted key signed")
    deadline: float = tuning(
        DEADLINE,
        ge=0,
        le=_LONGEST,
        description="seconds a plug-in may take for a batch of tiles, a slide or a patient; 0: no limit",
    )
    import_deadline: float = tuning(
        IMPORT_SECONDS, ge=0, le=_LONGEST, description="seconds a plug-in may take to be imported; 0: no limit"
    )

    _doubted: Mapping[Named, Path] = PrivateAttr(default_factory=dict)

    @property
    def doubted(self) -> Mapping[Named, Path]:
        """The options of plug-ins set by a settings file that nobody named or trusted, with that file."""
        return self._doubted

    @property
    def extractors(self) -> tuple[str, ...]:
        """The extractors by name, one or more."""
        return tuple(self.extractor.split(","))

    @pydantic.field_validator("extractor", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if not isinstance(value, str | list | tuple) or not all(isinstance(name, str) for name in value):
            return value
        names = [n.strip() for n in (value.split(",") if isinstance(value, str) else value)]
        if not names or not all(names) or len(set(names)) < len(names):
            raise ValueError("names none, or one twice; for example vit,h5")
        return ",".join(names)

    @pydantic.field_validator("classifiers", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            return value
        names = [name.strip() for name in names if name.strip()]
        if not names or len(set(names)) < len(names):
            raise ValueError("names none, or one twice; for example he,mlp,rf")
        return names

    @pydantic.field_validator("histologies", mode="before")
    @classmethod
    def _meanings(cls, value: Any) -> Any:
        return word_map(value) if isinstance(value, Mapping) else value

    @pydantic.field_validator("prevalences")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for p in value:
            if not 0 < p < 1:
                raise ValueError(f"{p:g} must lie strictly between 0 and 1, for example 0.13")
        return tuple(sorted(set(value)))

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if self.risk_control and self.target_sensitivity == 1:
            raise ValueError("risk control cannot guarantee a sensitivity of 1; for example sensitivity 0.9")
        doubled = sorted(_BY_FILE & self.model_fields_set) if self.folds_file is not None else []
        if doubled:
            raise ValueError(f"folds_file and {', '.join(doubled)} exclude each other; leave one of them out")
        return self

    @classmethod
    def load(cls, file: Path | None = None, overrides: Iterable[str] = (), **given: Any) -> Self:
        """The settings as the command line reads them: defaults < `file` < `given`, in which None means not given.

        `file`: a settings file; if None, kras.toml in the current folder if it exists. Its paths are relative to it. A
        named file may set anything. A file that was only found, and that `kras trust` does not know, may not set code,
        servers or places outside its folder. `overrides`: `kind.name.key=value`, options of plug-ins.
        Raises ConfigError that names the file and the setting, or the option.
        """
        said = {name: value for name, value in given.items() if value is not None}
        found = file is None and FOUND.exists()
        file = FOUND if found else file
        table, content = read_toml(file) if file else ({}, b"")
        engines = table.pop("engine", {})
        if not isinstance(engines, dict):
            raise ConfigError(f"{file}: engine is not a table", "write [engine.dask]")
        in_file = Config(plugin_tables(table, file) if file else {})
        doubted = file if file and found and not is_trusted(file, content) else None
        if doubted:
            check_run({k: v for k, v in table.get("run", {}).items() if k not in said}, doubted, cls)
            check_options(in_file.options, doubted)
            check_engine(engines, doubted)
        of_engine = [one for one in overrides if one.startswith("engine.")]
        config = overridden(in_file, (one for one in overrides if one not in of_engine))
        run = _in_file(table.get("run", {}), file) if file else {}
        if said.keys() & (_BY_FILE | {"folds_file"}):  # given now, each of these replaces those of the file
            run = {k: v for k, v in run.items() if k not in (_BY_FILE if "folds_file" in said else {"folds_file"})}
        dask = dask_options(engines, of_engine, file) if engines or of_engine else DaskOptions()
        try:
            made = cls.model_validate({**run, **said, "options": config.options, "dask": dask})
        except pydantic.ValidationError as e:
            raise ConfigError(*_explained(e, "--")) from e
        if doubted:
            made._doubted = {one: doubted for one in named(in_file.options) if _as_in(config, in_file, one)}
        return made

    @property
    def config(self) -> Config:
        """The options of plug-ins."""
        return Config(self.options)

    @property
    def targets(self) -> Targets:
        """The targets of the rules for thresholds."""
        return Targets(
            sensitivity=self.target_sensitivity, specificity=self.target_specificity, risk_control=self.risk_control
        )

    def having(self, **changed: Any) -> Self:
        """The same settings with other values, checked again."""
        stated = {name: getattr(self, name) for name in self.model_fields_set}
        made = type(self).model_validate({**stated, **changed})
        made._doubted = {one: file for one, file in self._doubted.items() if _as_in(made.config, self.config, one)}
        return made

    def with_options(self, *overrides: str) -> Self:
        """The same settings with `kind.name.key=value` options of plug-ins. Raises ConfigError for another form."""
        return self.having(options=overridden(self.config, overrides).options)

    def with_tables(self, files: Sequence[Path | str]) -> Self:
        """The same settings for finished features (CSV or Parquet) instead of a profiler that works on slides.

        A bundle of such features is given those of other patients in this way, too. Without files, nothing changes.
        """
        if not files:
            return self
        named = json.dumps([part for file in files for part in str(file).split(",") if part])
        return self.having(profiler="import").with_options(f"profiler.import.table={named}")

    def decided(self, folds: int, repeats: int, splits: Scheme) -> Self:
        """The same settings with those that a file of folds decides."""
        return self.model_copy(update={"folds": folds, "repeats": repeats, "splits": splits})

    def described(self) -> dict[str, Any]:
        """All settings as JSON values, for a manifest, without unset ones."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"pseudonyms", "dask"})


def _as_in(config: Config, before: Config, one: Named) -> bool:
    """Whether an option still has the value that it had before."""
    kind, name, key = one
    missing = object()
    here, there = (c.options.get(kind, {}).get(name, {}).get(key, missing) for c in (config, before))
    return here is not missing and here == there


def _in_file(run: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The table `[run]`, checked by itself so that errors name the file; its paths are relative to the file."""
    fields = StudySettings.model_fields.keys() - {"options", "dask"}
    for key in run:
        if key not in fields:
            raise ConfigError(f"{file}: unknown setting run.{key}", did_you_mean(key, fields))
    try:
        StudySettings.model_validate(dict(run))
    except pydantic.ValidationError as e:
        raise ConfigError(*_explained(e, f"{file}: run.")) from e
    placed: dict[str, Any] = {k: _placed(k, v, file.parent) for k, v in run.items()}
    return placed | ({"plugins": [file.parent / p for p in run["plugins"]]} if "plugins" in run else {})


def _placed(name: str, value: Any, folder: Path) -> Any:
    """A setting of a file in `folder`, to which its paths are relative; a store may be a URL."""
    where = place(value) if name == "cache" else value
    return folder / where if name in _ONE_PATH and not isinstance(where, Url) else where


def _explained(error: pydantic.ValidationError, where: str) -> tuple[str, str]:
    """Message and hint for the first thing that is wrong; `where`: the text before the name of a setting."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    cause, _, hint = first["msg"].removeprefix("Value error, ").partition("; ")
    if where == "--" and name:
        return f"{_option(name)} {_shown(first['input'])}: {cause}", hint or "see `kras run --help`"
    if where == "--":
        return " ".join(_option(word) if "_" in word else word for word in cause.split()), hint
    shown = without_credentials(repr(first["input"]))
    hint = hint or f"correct it; it is {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}"
    return f"{where}{name and name + ': '}{cause}", hint


def _option(name: str) -> str:
    return f"--{_CALLED.get(name, name).replace('_', '-')}"


def _shown(value: Any) -> str:
    return without_credentials(", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
