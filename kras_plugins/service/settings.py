"""The settings of a service: where it stores things, which bundles it scores with, where slides come from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.study.settings import StudySettings


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """All settings of one service process; several with the same `database` and `data` share their cases.

    `data`: the service's own folder. `database`: a URL of SQLAlchemy (`sqlite:///…`, `postgresql+psycopg://…`); ""
    is a SQLite file in `data`. `bundles`: those whose results are shown, the locked one first; `silent`: those scored
    for comparison, whose results are not shown to anybody who treats patients. `watch`: a folder that slides arrive in.
    `roots`: folders below which a path may be named; `hosts`: hosts whose URLs may be read. `lease_s`: seconds that a
    worker may be silent. `retries`: how often a case is tried again after its worker was lost. `name_pattern`: a
    regular expression for file names whose group `patient` is the patient. `study`: histologies, backend, engine and
    all other settings of scoring. Raises ConfigError for invalid values.
    """

    data: Path
    database: str = ""
    bundles: tuple[Path, ...] = ()
    silent: tuple[Path, ...] = ()
    watch: Path | None = None
    roots: tuple[Path, ...] = ()
    hosts: frozenset[str] = frozenset()
    lease_s: float = 60.0
    retries: int = 3
    pseudonyms: bool = True
    require_signature: bool = False
    name_pattern: str | None = None
    study: StudySettings = field(default_factory=StudySettings)

    def __post_init__(self) -> None:
        if self.lease_s <= 0:
            raise ConfigError(f"lease {self.lease_s:g} s: must be more than 0", "for example 60")
        if self.retries < 0:
            raise ConfigError(f"retries {self.retries}: must be 0 or more", "for example 3")
        if self.study.doubted:
            raise ConfigError(
                "the settings of scoring come from an untrusted kras.toml", "name it with --config, or `kras trust` it"
            )
        if self.name_pattern is not None:
            try:
                groups = re.compile(self.name_pattern).groupindex
            except re.error as e:
                raise ConfigError(f"name pattern {self.name_pattern}: {e}", "for example (?P<patient>[^_]+)_") from e
            if "patient" not in groups:
                raise ConfigError(
                    f"name pattern {self.name_pattern}: has no group `patient`", "for example (?P<patient>[^_]+)_"
                )

    @property
    def database_url(self) -> str:
        """Where the cases are."""
        return self.database or f"sqlite:///{self.data / 'kras.sqlite'}"

    @property
    def existing_database_url(self) -> str:
        """The same; raises UsageError if it is a missing file."""
        if not self.database and not (self.data / "kras.sqlite").is_file():
            raise UsageError(f"{self.data}: is not the folder of a service", "name its folder with --data")
        return self.database_url

    @property
    def results(self) -> Path:
        """Results: a folder for each case, with a subfolder for each token."""
        return self.data / "results"

    @property
    def work(self) -> Path:
        """What a worker writes while it scores: it names patients and is removed when the case ends."""
        return self.data / "work"

    @property
    def uploads(self) -> Path:
        """Slides that were uploaded."""
        return self.data / "uploads"

    @property
    def names(self) -> Path | None:
        """The key of the pseudonyms, in the format of `kras predict --pseudonyms`; None with real names."""
        return self.data / "pseudonyms.json" if self.pseudonyms else None

    @property
    def readable(self) -> tuple[Path, ...]:
        """All folders below which a slide may lie."""
        return (*self.roots, self.uploads, *([] if self.watch is None else [self.watch]))
