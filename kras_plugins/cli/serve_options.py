"""Options of `kras serve`, by topic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kras_plugins.cli.options import Backend, EngineName, Mpp, Plugins, ProfileTables, Reader, RequireSignature
from kras_plugins.errors import UsageError
from kras_plugins.study.settings import StudySettings

if TYPE_CHECKING:
    from kras_plugins.service.leaving.outbox import Webhook

Data = Annotated[Path, typer.Option(metavar="FOLDER", help="the service's folder")]
Database = Annotated[str, typer.Option(metavar="URL", help="the database's URL; else SQLite in that folder")]
DATA = Path("kras-service")
Folders = list[Path] | None
Words = list[str] | None


@dataclass(frozen=True)
class Kept:
    """Where a service keeps its data."""

    data: Data = DATA
    database: Database = ""


@dataclass(frozen=True)
class Taken:
    """Which slides a service takes, and how it shows whose they are."""

    watch: Annotated[Path | None, typer.Option(metavar="FOLDER", help="score the slides that arrive there")] = None
    roots: Annotated[
        Folders, typer.Option("--roots", metavar="FOLDER", help="allow slides below this folder; may be repeated")
    ] = None
    hosts: Annotated[
        Words, typer.Option("--hosts", metavar="HOST", help="allow slides on this host; may be repeated")
    ] = None
    name_pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="pattern of file names; its group `patient` is the patient")
    ] = None
    real_names: Annotated[
        bool, typer.Option("--real-names", help="show patients by their ids instead of pseudonyms")
    ] = False


@dataclass(frozen=True)
class Reached:
    """How a service is reached."""

    host: Annotated[str, typer.Option(metavar="ADDRESS", help="where to listen; needs --name beyond loopback")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(min=0, max=65535, help="port, 0 for a free one")] = 8700
    name: Annotated[
        Words, typer.Option("--name", metavar="HOST", help="host name of the service in browsers, over TLS")
    ] = None
    trust_proxy: Annotated[
        str | None, typer.Option(metavar="HEADER", help="header in which a proxy names the user")
    ] = None
    proxy: Annotated[
        Words, typer.Option("--proxy", metavar="ADDRESS", help="address of the trusted proxy [default: loopback]")
    ] = None


@dataclass(frozen=True)
class Scored(Plugins):
    """With what a service scores."""

    workers: Annotated[int, typer.Option(min=0, max=64, help="cases that are scored at the same time")] = 1
    profile_table: ProfileTables = None
    require_signature: RequireSignature = False
    backend: Backend = None
    reader: Reader = None
    mpp: Mpp = None
    engine: EngineName = None

    def study(self) -> StudySettings:
        """The settings of scoring: defaults < settings file < options."""
        return self.settings(
            backend=self.backend,
            reader=self.reader,
            mpp=self.mpp,
            engine=self.engine,
            require_signature=self.require_signature or None,
        ).with_tables(self.profile_table or ())


@dataclass(frozen=True)
class Told:
    """Who else is notified of what a service does."""

    webhook: Annotated[str | None, typer.Option(metavar="URL", help="post each result there, until it is accepted")] = (
        None
    )
    webhook_secret: Annotated[
        Path | None, typer.Option(metavar="FILE", help="secret that signs what is posted: 32 characters or more")
    ] = None
    log_json: Annotated[bool, typer.Option("--log-json", help="log to stderr as JSON, without names or paths")] = False

    def hook(self) -> Webhook | None:
        """Where results are posted to, if anywhere; UsageError for an address without a secret."""
        from urllib.parse import urlsplit

        from kras_plugins.service.leaving.outbox import read_webhook

        if self.webhook is None:
            return None
        if self.webhook_secret is None:
            raise UsageError("--webhook without a secret", "name its file with --webhook-secret")
        return read_webhook(self.webhook, self.webhook_secret, frozenset({urlsplit(self.webhook).hostname or ""}))
