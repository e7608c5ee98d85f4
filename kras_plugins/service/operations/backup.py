"""A copy of all that a service has, made while it runs, and restored into an empty folder.

SQLite is copied as a snapshot. Then come the results in this snapshot, which never change, the uploads, and the key of
the pseudonyms. PostgreSQL has tools of its own: run `pg_dump` first, then this for the files.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from kras_plugins import __version__
from kras_plugins.errors import ConfigError, StoreError, UsageError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.files.regular import read_text
from kras_plugins.service import audit
from kras_plugins.service.database.engine import open_database, reading, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import cases
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.store import file_sha256

SCHEMA_VERSION = 1
CONTENT = "backup.json"
"""Written last: a folder without it is not a complete backup."""
_DATABASE, _KEYS = "kras.sqlite", ("pseudonyms.json", "form.key")
_MOST = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What a backup contains. `at`: when it was begun; `database`: whether the database is in it; `bytes` in all."""

    at: datetime
    database: bool
    files: int
    bytes: int


def backup(db: Engine, settings: ServiceSettings, out: Path, actor: str) -> Backup:
    """Copy into a new folder that only its owner can read: it contains patients' names and the key.

    Raises UsageError if the folder exists, StoreError if it cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out} already exists", "name a new folder")
    at, draft = datetime.now(UTC), out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        # Before the copy, so that the entry is in it.
        with writing(db) as connection:
            audit.append(connection, actor, "backup", "service")
        own = db.dialect.name == "sqlite"
        results = [*_results(db)]
        if own:
            _copy_sqlite(db, draft / _DATABASE)
            copied = open_database(f"sqlite:///{draft / _DATABASE}")
            results = [*_results(copied)]
            _settled(copied)
        for result in results:
            _copy(settings.results / result, draft / "results" / result)
        _copy(settings.uploads, draft / "uploads")
        for name in _KEYS:
            _copy(settings.data / name, draft / name)
        files = {str(f.relative_to(draft)): file_sha256(f) for f in _files(draft)}
        size = sum(f.stat().st_size for f in _files(draft))
        value = {"schema_version": SCHEMA_VERSION, "kras": __version__, "at": at.isoformat(), "database": own}
        write_atomic(draft / CONTENT, json.dumps({**value, "files": files}, indent=1) + "\n", 0o600)
        draft.rename(out)
    except OSError as e:
        shutil.rmtree(draft, ignore_errors=True)
        raise StoreError(f"cannot write the backup {out}: {e.strerror or e}", "free space or name another disk") from e
    return Backup(at=at, database=own, files=len(files), bytes=size)


def restore(source: Path, settings: ServiceSettings, actor: str) -> Backup:
    """Restore a backup after checking each of its files; the audit continues with an entry that records it.

    A backup without a database has only the files: restore the database first, with the tools of its server. What was
    erased since the backup must be erased again. Raises UsageError if the service's folder is not empty, and
    ConfigError for an incomplete backup.
    """
    content = _read(source)
    if settings.data.is_dir() and any(settings.data.iterdir()):
        raise UsageError(f"{settings.data} is not empty", "name a new folder: a backup is not mixed with other files")
    for name, digest in content["files"].items():
        file = source / name
        if not file.is_file() or file_sha256(file) != digest:
            raise ConfigError(f"{file} is missing or was changed", "take another backup")
    if content["database"] and settings.database:
        raise UsageError("the backup contains a SQLite database", "leave out --database")
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The database comes last: without it there is no service here, and the same call can begin again.
    for name in sorted(content["files"], key=lambda name: name == _DATABASE):
        _copy(source / name, settings.data / name)
    db = open_database(settings.database_url)
    try:
        upgrade(db)
        with writing(db) as connection:
            audit.append(connection, actor, "restore", "service", backup=content["at"])
    finally:
        db.dispose()
    size = sum((source / name).stat().st_size for name in content["files"])
    at = datetime.fromisoformat(content["at"])
    return Backup(at=at, database=content["database"], files=len(content["files"]), bytes=size)


def _read(source: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(source / CONTENT, _MOST))
        names = [Path(name) for name in content["files"]]
        inside = all(not name.is_absolute() and ".." not in name.parts for name in names)
        whole = content["schema_version"] == SCHEMA_VERSION and isinstance(content["database"], bool) and inside
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ConfigError(f"{source} is not a complete backup: {type(e).__name__}", "name a folder of `backup`") from e
    if not whole:
        raise ConfigError(f"{source} is not a backup of this version", "restore it with the version that made it")
    return dict(content)


def _results(db: Engine) -> Iterator[str]:
    with reading(db) as connection:
        yield from connection.execute(sa.select(cases.c.result).where(cases.c.result.is_not(None))).scalars()


def _copy_sqlite(db: Engine, file: Path) -> None:
    """A snapshot, made while others write (SQLite's online backup)."""
    import sqlite3

    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    raw, target = db.raw_connection(), sqlite3.connect(file)
    try:
        source = raw.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(target)
    finally:
        target.close()
        raw.close()


def _settled(copied: Engine) -> None:
    """Merge a copy into one file."""
    raw = copied.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=DELETE").close()
    finally:
        raw.close()
        copied.dispose()


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder with its permissions; skip it if it has gone meanwhile, for example by an erasure."""
    if source.is_dir():
        for file in _files(source):
            _copy(file, target / file.relative_to(source))
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        return
    target.chmod(0o600)


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
