"""The queue: who scores a case, until when, and whose result counts.

A claim comes with a token that is larger than all before it of that case. Every change to a case that ends a claim
raises it as well, so whoever was away too long, or whose case was canceled, holds an old one: nothing that he writes is
taken.
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
"""What else happens in the transaction that ends a case, such as a message that is put out."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A case that is somebody's to score while the lease lasts."""

    case: CaseRow
    token: int
    owner: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What scoring came to. `result`: the folder below that of all results; `digest`: of its predictions.csv."""

    state: Literal["scored", "not_assessable", "failed"]
    reason: str = ""
    score: float | None = None
    call: str | None = None
    qc: str | None = None
    cautions: str = ""
    result: str | None = None
    digest: str | None = None


def claim(
    db: Engine, owner: str, lease_s: float, bundles: Sequence[str] | None = None, now: datetime | None = None
) -> Claim | None:
    """Take the case that is next: of the highest priority the oldest; None where nothing waits.

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
    """Keep it so much longer; False where it is no longer the caller's, who is to stop."""
    with writing(db) as connection:
        now = now or clock(connection)
        kept = cases.update().where(*_own(held)).values(lease_until=now + timedelta(seconds=lease_s))
        return connection.execute(kept).rowcount == 1


def commit(db: Engine, held: Claim, outcome: Outcome, beside: Beside | None = None) -> bool:
    """End the case with a result; False where the token is old: the result is to be thrown away, nothing was written.

    The case, its audit and what is done `beside` are one transaction. Who does not know whether it was kept, as the
    connection was lost, may call this again.
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
    """End a claim without a result; False where the token is old.

    `again`: it was no fault of the case, which waits once more until it was tried 1 + `retries` times. Else, and then,
    it has failed for that reason.
    """
    with writing(db) as connection:
        return _without_result(connection, held.case, held, reason, again=again, retries=retries, beside=beside)


def release(db: Engine, held: Claim) -> bool:
    """Give it back as if it had not been taken, as who is asked to stop does; False where the token is old."""
    with writing(db) as connection:
        now = clock(connection)
        case = _end(connection, held, now, state="queued", attempts=cases.c.attempts - 1)
        if case is not None:
            audit.append(connection, held.owner, "release", case.id, token=held.token)
    return case is not None


def expire(db: Engine, retries: int, now: datetime | None = None, beside: Beside | None = None) -> int:
    """Let cases whose workers were silent for too long wait again, or fail; how many there were.

    Everybody may call this at any time.
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
    """Change a case that is still the holder's, who has it no longer; None where it is not."""
    ended = cases.update().where(*_own(held)).values(
        token=cases.c.token + 1, owner=None, lease_until=None, updated=now, **values
    ).returning(cases)  # fmt: skip
    found = connection.execute(ended).mappings().one_or_none()
    return None if found is None else CaseRow(**found)
