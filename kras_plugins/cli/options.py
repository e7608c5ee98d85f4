"""Options that several commands share, each defined once; the defaults are those of the study's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kras_plugins.cli.command import closing
from kras_plugins.cli.told import Told
from kras_plugins.study.notify import Notify
from kras_plugins.study.session import Session, opened
from kras_plugins.study.settings import StudySettings


def setting(name: str, *flags: str, also: str = "", **more: Any) -> Any:
    """The option for a setting, with the meaning and default that the settings state; `also`: more words."""
    field = StudySettings.model_fields[name]
    least = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    return typer.Option(*flags, help=f"{field.description}{also}{_default(field.get_default())}", min=least, **more)


def _default(value: object) -> str:
    shown = f"{value:g}" if isinstance(value, float) else value
    if isinstance(value, tuple):
        shown = ",".join(map(str, value))
    return "" if shown in (None, "", False) else f" [default: {shown}]"


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="settings file; kras.toml in the current folder is read automatically"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="KIND.NAME.KEY=VALUE", help="set one option of a plug-in; may be repeated"),
]
PluginFiles = Annotated[
    list[Path] | None, typer.Option("--plugin", help="a Python file that is a plug-in; may be repeated")
]
CacheFolder = Annotated[str | None, setting("cache", metavar="FOLDER|URL")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable result on stdout; progress stays on stderr")]
Backend = Annotated[str | None, setting("backend")]
Reader = Annotated[str | None, setting("reader")]
Mpp = Annotated[float | None, setting("mpp", metavar="UM")]
AsField = Annotated[bool | None, setting("field", "--field/--no-field")]
Workers = Annotated[int | None, setting("workers")]
EngineName = Annotated[str | None, setting("engine", metavar="NAME")]
Extractor = Annotated[str | None, setting("extractor")]
OneExtractor = Annotated[
    str | None,
    typer.Option("--extractor", help=f"feature extractor{_default(StudySettings.model_fields['extractor'].default)}"),
]
Profiler = Annotated[str | None, setting("profiler")]
Prevalences = Annotated[
    list[float] | None, setting("prevalences", "--prevalence", also="; may be repeated", metavar="P")
]
Covariates = Annotated[Path | None, setting("covariates")]
ProfileTables = Annotated[
    list[Path] | None,
    typer.Option("--profile-table", help="finished features, CSV or Parquet, instead of a profiler"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace another study in the folder")]
RequireSignature = Annotated[bool, setting("require_signature", "--require-signature")]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle folder of a run")]
Sites = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="institutions by site: columns code (or site) and institution"),
]
Slides = Annotated[list[Path], typer.Argument(metavar="SLIDE", help="slide files, folders of them, or one cohort CSV")]
ModelNames = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="names of models; all if none is given")]


@dataclass(frozen=True)
class Plugins:
    """Which plug-ins, with what options, and where results are kept."""

    config: ConfigFile = None
    option: Overrides = None
    plugin: PluginFiles = None
    cache: CacheFolder = None

    def settings(self, **given: Any) -> StudySettings:
        """The settings of a call: defaults < settings file < options."""
        return StudySettings.load(
            self.config, self.option or (), plugins=self.plugin or None, cache=self.cache, **given
        )

    def session(self, notify: Notify | None = None, **given: Any) -> Session:
        """The settings and plug-ins of a command that is not a study, until it ends; broken plug-ins are reported."""
        return closing.get().enter_context(opened(self.settings(**given), notify or Told()))


@dataclass(frozen=True)
class Machine(Plugins):
    """Where and with what a command runs."""

    backend: Backend = None
    reader: Reader = None
    mpp: Mpp = None
    field: AsField = None
    workers: Workers = None
    engine: EngineName = None
    pseudonyms: Annotated[Path | None, setting("pseudonyms")] = None

    def settings(self, **given: Any) -> StudySettings:
        """The settings of a call: defaults < settings file < options."""
        return super().settings(
            backend=self.backend,
            reader=self.reader,
            mpp=self.mpp,
            field=self.field,
            workers=self.workers,
            engine=self.engine,
            pseudonyms=self.pseudonyms,
            **given,
        )
