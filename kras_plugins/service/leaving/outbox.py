"""Results reported to another system: queued in the transaction that ends a case, posted until the receiver has them.

Delivery is at least once: a process that dies between posting and recording it posts again, with the same
Idempotency-Key. A message names the case, the pseudonym and the result, but no person and no path. It goes to one host
that was allowed by name and is signed with a secret that both sides know. It follows no redirect, which might lead to
somebody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.files.regular import private, read_text
from kras_plugins.service import audit
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.database.engine import clock, writing
from kras_plugins.service.database.tables import outbox

SCHEMA_VERSION = 1
ACTOR = "outbox"
SIGNATURE, KEY = "Kras-Signature", "Idempotency-Key"
TIMEOUT_S = 20.0
"""How long a receiver may be silent."""
MOST_ATTEMPTS = 24
"""The pauses between that many attempts add up to about five days."""
_FIRST_S, _LONGEST_S = 10.0, 6 * 3600.0
_FRESH_S = 300.0
_SHORTEST_SECRET = 32
_POLL_S = 2.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_log = logging.getLogger("kras.service.outbox")


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where results are posted, and the secret that signs them. Raises ConfigError for an address not allowed.

    `hosts`: allowed names, matched exactly. Only loopback may be reached without TLS.
    """

    url: str
    secret: bytes = field(repr=False)
    hosts: frozenset[str]
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.username or parts.password:
            raise ConfigError("the address of the webhook contains credentials", "the signature says who posts")
        if host not in self.hosts:
            raise ConfigError(f"webhook to {host!r}: this host is not allowed", "name it among the allowed hosts")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise ConfigError(f"webhook to {host}: is not https", "only loopback may be reached without TLS")
        if len(self.secret) < _SHORTEST_SECRET:
            raise ConfigError(
                f"the webhook's secret has fewer than {_SHORTEST_SECRET} bytes", "for example: openssl rand -hex 32"
            )


def read_webhook(url: str, secret: Path, hosts: frozenset[str]) -> Webhook:
    """The webhook whose secret is the text of a file that only its owner can read. Raises ConfigError otherwise."""
    try:
        text = read_text(private(secret)).strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{secret}: cannot be read as the secret of the webhook: {e}", "name a text file") from e
    return Webhook(url=url, secret=text.encode(), hosts=hosts)


def put(connection: Connection, case: CaseRow, url: str) -> None:
    """Queue a message about a case in the transaction that ends it; none about a silent case.

    With `url` given, this is a `leases.Beside`.
    """
    if case.silent:
        return
    message = uuid.uuid4().hex
    value = {"schema_version": SCHEMA_VERSION, "message": message, "event": f"case.{case.state}", **_told(case)}
    connection.execute(
        outbox.insert().values(
            id=message, case_id=case.id, url=url, body=json.dumps(value, sort_keys=True), next_try=clock(connection)
        )
    )


def _told(case: CaseRow) -> dict[str, Any]:
    return {
        "case": case.id, "version": case.version, "supersedes": case.supersedes, "patient": case.patient,
        "state": case.state, "reason": case.reason, "call": case.call, "score": case.score, "qc": case.qc,
        "cautions": case.cautions, "bundle": case.bundle_digest, "result": case.result_digest,
        "at": (case.scored_at or case.updated).isoformat(), "research_use_only": True,
    }  # fmt: skip


def signature(secret: bytes, body: bytes, at: datetime) -> str:
    """The value of the header `Kras-Signature`: HMAC-SHA256 of seconds since the epoch, a period and the body."""
    seconds = int(at.timestamp())
    return f"t={seconds},v1={hmac.new(secret, f'{seconds}.'.encode() + body, hashlib.sha256).hexdigest()}"


def is_signed(secret: bytes, header: str, body: bytes, now: datetime, fresh_s: float = _FRESH_S) -> bool:
    """What a receiver checks: that the body is unchanged, its sender knows the secret, and it is recent."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    try:
        at = datetime.fromtimestamp(int(parts.get("t", "")), now.tzinfo)
    except (ValueError, OverflowError, OSError):
        return False
    return hmac.compare_digest(signature(secret, body, at), header) and abs((now - at).total_seconds()) <= fresh_s


def deliver(db: Engine, hook: Webhook, now: datetime | None = None) -> bool:
    """Post one message that is due; False if none is. What was not accepted is tried again, at growing intervals.

    `now`: in place of the database's clock. Several processes may do this: a message belongs to one of them for as long
    as posting it may take.
    """
    taken = _taken(db, hook, now)
    if taken is None:
        return False
    why = _posted(hook, taken.id, taken.body.encode(), now)
    with writing(db) as connection:
        at = now or clock(connection)
        own = outbox.update().where(outbox.c.id == taken.id, outbox.c.delivered.is_(None))
        if not why:
            # What was delivered is kept no longer than necessary.
            connection.execute(own.values(delivered=at, next_try=None, body=""))
            audit.append(connection, ACTOR, "delivered", taken.case_id, message=taken.id, attempts=taken.attempts)
            return True
        last = taken.attempts >= MOST_ATTEMPTS
        later = None if last else at + timedelta(seconds=pause_s(taken.attempts, taken.id))
        connection.execute(own.values(next_try=later))
        if last:
            audit.append(connection, ACTOR, "undeliverable", taken.case_id, message=taken.id, attempts=taken.attempts)
    _log.warning("case %s: attempt %d to deliver failed: %s", taken.case_id, taken.attempts, why)
    return True


def again(db: Engine, case_id: str, actor: str) -> int:
    """Try again to deliver a case's messages that were given up; returns how many."""
    with writing(db) as connection:
        given_up = outbox.c.case_id == case_id, outbox.c.delivered.is_(None), outbox.c.next_try.is_(None)
        changed = connection.execute(
            outbox.update().where(*given_up).values(attempts=0, next_try=clock(connection))
        ).rowcount
        if changed:
            audit.append(connection, actor, "deliver again", case_id, messages=changed)
    return changed


def pause_s(attempts: int, message: str) -> float:
    """Seconds until the next attempt: doubled each time, up to six hours, and spread so that not all coincide."""
    spread = int(hashlib.sha256(f"{message}{attempts}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return float(min(_LONGEST_S, _FIRST_S * 2.0 ** (attempts - 1))) * (0.75 + 0.5 * spread)


class Courier:
    """Delivers until it is asked to stop, or `stop` is set; run in a thread."""

    def __init__(self, db: Engine, hook: Webhook, stop: threading.Event | None = None) -> None:
        self._db, self._hook, self._stop = db, hook, stop or threading.Event()

    def run(self) -> None:
        """Deliver what is due, and wait."""
        while not self._stop.is_set():
            try:
                if deliver(self._db, self._hook):
                    continue
            except StoreError as e:  # an outage of the database does not end the courier
                _log.warning("%s", e)
            self._stop.wait(_POLL_S)

    def stop(self) -> None:
        """End after the current message. May be called from any thread."""
        self._stop.set()


def _taken(db: Engine, hook: Webhook, now: datetime | None) -> Any:
    """The message that has been due longest, reserved for the caller for a while; None if none is due."""
    with writing(db) as connection:
        at = now or clock(connection)
        due = sa.select(outbox.c.id).where(outbox.c.next_try <= at, outbox.c.url == hook.url)
        due = due.order_by(outbox.c.next_try, outbox.c.id).limit(1).with_for_update(skip_locked=True)
        found = connection.execute(due).scalar_one_or_none()
        if found is None:
            return None
        mine = outbox.update().where(outbox.c.id == found).values(
            attempts=outbox.c.attempts + 1, next_try=at + timedelta(seconds=3 * hook.timeout_s)
        ).returning(outbox.c.id, outbox.c.case_id, outbox.c.body, outbox.c.attempts)  # fmt: skip
        return connection.execute(mine).one()


def _posted(hook: Webhook, message: str, body: bytes, now: datetime | None) -> str:
    """Post it; returns why it was not accepted, "" if it was. Only an answer of 2xx means accepted."""
    import urllib3

    headers = {
        "Content-Type": "application/json",
        "User-Agent": "kras",
        KEY: message,
        SIGNATURE: signature(hook.secret, body, now or datetime.now(UTC)),
    }
    with urllib3.PoolManager(timeout=urllib3.Timeout(hook.timeout_s)) as pool:
        try:
            answer = pool.request(
                "POST", hook.url, body=body, headers=headers, redirect=False, retries=False, preload_content=False
            )
        except urllib3.exceptions.HTTPError as e:
            return type(e).__name__  # its text may repeat the address, in which there may be a token
        answer.drain_conn() if answer.length_remaining == 0 else answer.close()
    return "" if 200 <= answer.status < 300 else f"the receiver answered {answer.status}"
