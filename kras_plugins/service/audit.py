"""The audit: who did what to which case, as a chain of entries, each of which seals all before it.

An entry's hash is the SHA-256 of its fields and of the hash before it, so an entry that is changed, removed or moved
no longer fits the next one. If somebody rewrites everything to the end, a head of the chain that was logged elsewhere
(logger `kras.service.audit`) reveals it. Entries name pseudonyms and cases, never people or places.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.service.database.engine import HEAD, clock, lock, reading
from kras_plugins.service.database.tables import audit

NOTHING = "0" * 64
"""The hash before the first entry."""

_LOGGED = re.compile(r"audit head (\d+) ([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry. `at` in UTC, `detail` as JSON values."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What `verify` found: how many entries, the head's hash, and what is wrong, in words that name entries."""

    entries: int
    head: str
    wrong: tuple[str, ...] = ()


def append(connection: Connection, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Add an entry in the transaction of the change that it records, as the last step of that transaction.

    `detail`: JSON values, without names and places. On PostgreSQL other entries wait until the transaction ends.
    """
    lock(connection, "audit")
    last = connection.execute(
        sa.select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    ).one_or_none()
    number, previous = (last.number + 1, last.hash) if last else (1, NOTHING)
    at, text = clock(connection), json.dumps(detail, sort_keys=True)
    digest = _hash(number, at, actor, action, subject, text, previous)
    connection.execute(
        audit.insert().values(
            number=number, at=at, actor=actor, action=action, subject=subject, detail=text, previous=previous,
            hash=digest,
        )
    )  # fmt: skip
    connection.info[HEAD] = number, digest


def entries(db: Engine, subject: str | None = None, after: int = 0, limit: int = 100) -> tuple[Entry, ...]:
    """Entries in order, of one subject or of all, from the one that follows number `after`."""
    asked = sa.select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
    if subject is not None:
        asked = asked.where(audit.c.subject == subject)
    with reading(db) as connection:
        found = connection.execute(asked).mappings().all()
    return tuple(Entry(**{**row, "detail": json.loads(row["detail"])}) for row in found)


def verify(db: Engine, logged: Iterable[str] = ()) -> Verified:
    """Check the whole chain, and that each head in the lines of a log that was kept elsewhere is in it."""
    heads = {int(m[1]): m[2] for line in logged if (m := _LOGGED.search(line))}
    wrong, number, previous = [], 0, NOTHING
    with reading(db) as connection:
        rows = connection.execution_options(yield_per=1000).execute(sa.select(audit).order_by(audit.c.number))
        for row in rows:
            if row.number != number + 1:
                wrong.append(f"entries {number + 1} to {row.number - 1} are missing")
            elif row.previous != previous:
                wrong.append(f"entry {row.number} does not follow entry {number}")
            if row.hash != _hash(row.number, row.at, row.actor, row.action, row.subject, row.detail, row.previous):
                wrong.append(f"entry {row.number} was changed")
            if heads.pop(row.number, row.hash) != row.hash:
                wrong.append(f"entry {row.number} differs from the one that was logged")
            number, previous = row.number, row.hash
    wrong += [f"entry {gone} was logged but is missing" for gone in sorted(heads)]
    return Verified(entries=number, head=previous, wrong=tuple(wrong))


def _hash(number: int, at: datetime, actor: str, action: str, subject: str, detail: str, previous: str) -> str:
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    sealed = json.dumps([number, moment, actor, action, subject, detail, previous])
    return hashlib.sha256(sealed.encode()).hexdigest()
