"""Opening a database: SQLite or PostgreSQL, read or written in one transaction, with one clock for all who share it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from kras_plugins.errors import ConfigError, StoreError

HEAD = "kras_audit_head"
"""The key of a connection's `info` under which `audit.append` leaves its chain's head, logged once it is committed."""

_WAIT_S = 60
"""How long a writer waits for another, and how long a writer on PostgreSQL may stay idle in its transaction."""
_log = logging.getLogger("kras.service.audit")


def open_database(url: str) -> Engine:
    """The database at a URL of SQLAlchemy, connected to when it is first used; close it with `dispose`.

    Raises ConfigError for a URL that is neither `sqlite:///FILE` nor `postgresql+psycopg://…`.
    """
    hint = "sqlite:///FILE, or postgresql+psycopg://USER@HOST/NAME"
    try:
        made = sa.make_url(url)
    except ArgumentError as e:
        raise ConfigError("the address of the database is not valid", hint) from e
    if made.drivername in ("postgresql", "postgres"):
        made = made.set(drivername="postgresql+psycopg")
    if made.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ConfigError(f"a database of the kind {made.drivername} is not supported", hint)
    try:
        if made.drivername == "sqlite":
            return _sqlite(made)
        return _postgresql(made)
    except (ImportError, NoSuchModuleError) as e:
        raise ConfigError(f"{made.drivername}: its driver is not installed", "pip install 'kras[service]'") from e


def _postgresql(url: sa.URL) -> Engine:
    db = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)

    @event.listens_for(db, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # A process that was suspended in the middle of a transaction would keep all others waiting until it continues.
        for name in ("idle_in_transaction_session_timeout", "lock_timeout"):
            connection.execute(f"SET {name} = '{_WAIT_S}s'").close()
        connection.commit()

    return db


def _sqlite(url: sa.URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError("a database in memory cannot be shared", "sqlite:///FILE")
    Path(str(url.database)).parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    db = sa.create_engine(url, connect_args={"timeout": _WAIT_S}, hide_parameters=True)

    @event.listens_for(db, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # `begin` below begins transactions, never the driver on its own
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(db, "begin")
    def begin(connection: Connection) -> None:
        # A writer says so at once: one that read first, while another wrote, would fail when it writes.
        reads = connection.get_execution_options().get("kras_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return db


@contextmanager
def reading(db: Engine) -> Iterator[Connection]:
    """A transaction that only reads; nobody waits for it. Raises StoreError if the database does not answer."""
    with _answering(), db.connect() as connection, connection.execution_options(kras_reads=True).begin():
        yield connection


@contextmanager
def writing(db: Engine) -> Iterator[Connection]:
    """A transaction that writes all or nothing; the head of the audit is logged once it is committed.

    Raises StoreError if the database does not answer.
    """
    with _answering(), db.connect() as connection:
        connection.info.pop(HEAD, None)
        with connection.begin():
            yield connection
        if (head := connection.info.pop(HEAD, None)) is not None:
            _log.info("audit head %d %s", *head)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except OperationalError as e:
        cause = " ".join(str(e.orig).split())[:200]
        raise StoreError(f"the database does not answer: {cause}", "see whether it runs and its disk has room") from e


def lock(connection: Connection, what: str) -> None:
    """Let one transaction at a time do `what`, until it ends. On SQLite only one writes at a time anyway."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def clock(connection: Connection) -> datetime:
    """The time, by the clock that all share: the server's, or, for SQLite, that of this machine, which has the file."""
    if connection.dialect.name == "postgresql":
        found: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return found.astimezone(UTC)
    return datetime.now(UTC)
