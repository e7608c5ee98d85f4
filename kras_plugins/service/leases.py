"""The queue: who scores a case, until when, and whose result counts.

A claim comes with a token larger than all earlier tokens of that case. Every change to a case that ends a claim raises
the token, too. So a worker that was silent for too long, or whose case was canceled, has an old token, and nothing that
it writes is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.service import audit
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.database.engine import clock, writing
from kras_plugins.service.database.tables import cases

LOST = "its worker was lost"
Beside = Callable[[Connection, CaseRow], None]
"""What else happens in the transaction that ends a case, such as putting a message into the outbox."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A case that one worker alone may score while the lease lasts."""

    case: CaseRow
    token: int
    owner: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of scoring. `result`: the folder below that of all results; `digest`: of its predictions.csv."""

    state: Literal["scored", "not_assessable", "failed"]
    reason: str = ""
    score: float | None = None
    call: str | None = None
    qc: Literal["pass", "warn", "fail"] | None = None
    cautions: str = ""
    result: str | None = None
    digest: str | None = None


def claim(
    db: Engine, owner: str, lease_s: float, bundles: Sequence[str] | None = None, now: datetime | None = None
) -> Claim | None:
    """Take the next case: the oldest one of the highest priority; None if no case waits.

    No two callers get one case, whether threads, processes or machines. `bundles`: digests of those that the caller
    has; `now`: in place of the database's clock.
    """
    waiting = sa.select(cases.c.id).where(cases.c.state == "queued")
    if bundles is not None:
        waiting = waiting.where(cases.c.bundle_digest.in_(bundles))
    waiting = waiting.order_by(cases.c.priority.desc(), cases.c.created, cases.c.id).limit(1)
    with writing(db) as connection:
        found = connection.execute(waiting.with_for_update(skip_locked=True)).scalar_one_or_none()
        if found is None:
            return None
        now = now or clock(connection)
        taken = cases.update().where(cases.c.id == found).values(
            state="running", reason="", token=cases.c.token + 1, attempts=cases.c.attempts + 1, owner=owner,
            lease_until=now + timedelta(seconds=lease_s), updated=now,
        ).returning(cases)  # fmt: skip
        case = CaseRow(**connection.execute(taken).mappings().one())
        audit.append(connection, owner, "claim", case.id, token=case.token, attempt=case.attempts)
    return Claim(case=case, token=case.token, owner=owner)


def renew(db: Engine, held: Claim, lease_s: float, now: datetime | None = None) -> bool:
    """Extend the lease; False if the case is no longer the caller's, who must then stop."""
    with writing(db) as connection:
        now = now or clock(connection)
        kept = cases.update().where(*_own(held)).values(lease_until=now + timedelta(seconds=lease_s))
        return connection.execute(kept).rowcount == 1


def commit(db: Engine, held: Claim, outcome: Outcome, beside: Beside | None = None) -> bool:
    """End the case with a result; False if the token is old: nothing was written, and the result must be discarded.

    The case, its audit and what is done `beside` are one transaction. If the connection was lost and it is unknown
    whether the result was kept, this may be called again.
    """
    with writing(db) as connection:
        now = clock(connection)
        case = _end(
            connection, held, now, state=outcome.state, reason=outcome.reason, score=outcome.score, call=outcome.call,
            qc=outcome.qc, cautions=outcome.cautions, result=outcome.result, result_digest=outcome.digest,
            scored_at=now,
        )  # fmt: skip
        if case is None:
            kept = connection.execute(sa.select(cases.c.result).where(cases.c.id == held.case.id)).scalar_one_or_none()
            return kept is not None and kept == outcome.result
        if beside is not None:
            beside(connection, case)
        audit.append(connection, held.owner, outcome.state, case.id, token=held.token, result=outcome.digest)
    return True


def fail(db: Engine, held: Claim, reason: str, *, again: bool, retries: int, beside: Beside | None = None) -> bool:
    """End a claim without a result; False if the token is old.

    `again`: the fault was not the case's, which returns to the queue until it was tried 1 + `retries` times. After
    that, or without `again`, it has failed for this reason.
    """
    with writing(db) as connection:
        return _without_result(connection, held.case, held, reason, again=again, retries=retries, beside=beside)


def release(db: Engine, held: Claim) -> bool:
    """Give the case back as if it had not been taken, when asked to stop; False if the token is old."""
    with writing(db) as connection:
        now = clock(connection)
        case = _end(connection, held, now, state="queued", attempts=cases.c.attempts - 1)
        if case is not None:
            audit.append(connection, held.owner, "release", case.id, token=held.token)
    return case is not None


def expire(db: Engine, retries: int, now: datetime | None = None, beside: Beside | None = None) -> int:
    """Return cases whose workers were silent for too long to the queue, or let them fail; returns how many.

    Any process may call this at any time.
    """
    with writing(db) as connection:
        at = now or clock(connection)
        asked = sa.select(cases).where(cases.c.state == "running", cases.c.lease_until < at).order_by(cases.c.id)
        late = [CaseRow(**row) for row in connection.execute(asked.with_for_update(skip_locked=True)).mappings()]
        for case in late:
            held = Claim(case=case, token=case.token, owner=str(case.owner))
            _without_result(connection, case, held, LOST, again=True, retries=retries, beside=beside)
    return len(late)


def _without_result(
    connection: Connection, case: CaseRow, held: Claim, reason: str, *, again: bool, retries: int, beside: Beside | None
) -> bool:
    more = again and case.attempts <= retries
    tried = f" ({case.attempts} times)" if again and not more else ""
    state = "queued" if more else "failed"
    ended = _end(connection, held, clock(connection), state=state, reason=f"{reason}{tried}")
    if ended is None:
        return False
    if beside is not None and not more:
        beside(connection, ended)
    audit.append(connection, held.owner, "again" if more else "failed", case.id, token=held.token, reason=reason)
    return True


def _own(held: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return cases.c.id == held.case.id, cases.c.token == held.token, cases.c.state == "running"


def _end(connection: Connection, held: Claim, now: datetime, **values: Any) -> CaseRow | None:
    """Change a case that is still the holder's and take it from them; None if it was no longer theirs."""
    ended = cases.update().where(*_own(held)).values(
        token=cases.c.token + 1, owner=None, lease_until=None, updated=now, **values
    ).returning(cases)  # fmt: skip
    found = connection.execute(ended).mappings().one_or_none()
    return None if found is None else CaseRow(**found)
