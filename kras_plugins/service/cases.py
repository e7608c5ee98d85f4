"""Cases: what is scored, in which version, and what people may do to one."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from kras_plugins.errors import KrasError
from kras_plugins.service import audit
from kras_plugins.service.database.engine import clock, lock, reading, writing
from kras_plugins.service.database.tables import cases, people, slides

Grouping = Literal["api", "csv", "pattern", "alone"]
"""What says which slides are one case: the request, a CSV beside them, or their names; `alone`: a slide by itself."""
SUPERSEDED = "superseded by a later version"
_ID = re.compile(r"[0-9a-f]{32}")


class UnknownCase(KrasError):
    """No case has this id."""


class WrongState(KrasError):
    """The state of the case does not allow this."""


@dataclass(frozen=True, kw_only=True)
class NewSlide:
    """A slide to be scored: its shown and its own name, where it lies, what identifies its content, and its size.

    `slide_id` is the pseudonym of `name`, or the same if pseudonyms are off.
    """

    slide_id: str
    name: str
    place: str
    fingerprint: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class NewCase:
    """A case to be scored. `patient` as shown: the pseudonym of `patient_id`, or the same if pseudonyms are off."""

    patient: str
    patient_id: str
    slides: tuple[NewSlide, ...]
    bundle_digest: str
    silent: bool = False
    grouping: Grouping = "api"
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class SlideRow:
    """A slide of a case; `name` and `place` are for scoring alone."""

    id: str
    case_id: str
    slide_id: str
    name: str
    place: str
    fingerprint: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """A case as stored in the database; times in UTC. `result`: its folder below that of all results."""

    id: str
    key: str
    patient: str
    grouping: str
    bundle_digest: str
    silent: bool
    version: int
    supersedes: str | None
    superseded_by: str | None
    state: str
    reason: str
    priority: int
    attempts: int
    token: int
    owner: str | None
    lease_until: datetime | None
    created: datetime
    updated: datetime
    scored_at: datetime | None
    score: float | None
    call: str | None
    qc: str | None
    cautions: str
    result: str | None
    result_digest: str | None
    viewed_by: str | None
    viewed_at: datetime | None


def case_key(patient: str, bundle_digest: str, fingerprints: Iterable[str]) -> str:
    """What makes two submissions the same case: patient, bundle and the contents of all slides."""
    return hashlib.sha256(json.dumps([patient, bundle_digest, sorted(fingerprints)]).encode()).hexdigest()


def submit(db: Engine, new: NewCase, actor: str) -> CaseRow:
    """Queue a case once: submitting the same slides again returns the existing case.

    Slides join those of the patient's current version; a slide replaces the one of the same name. A change makes a new
    version. The previous version is kept as superseded; if it was not scored yet, it is canceled.
    """
    with writing(db) as connection:
        lock(connection, f"submit {new.patient}")
        before = _current(connection, new)
        there: Sequence[NewSlide | SlideRow] = () if before is None else _slides(connection, before.id)
        joined = {one.name: one for one in [*there, *new.slides]}
        key = case_key(new.patient, new.bundle_digest, (s.fingerprint for s in joined.values()))
        same = connection.execute(sa.select(cases).where(cases.c.key == key)).mappings().one_or_none()
        if same is not None:
            return CaseRow(**same)
        now, made = clock(connection), uuid.uuid4().hex
        if before is not None:
            _supersede(connection, before, made, now)
        connection.execute(
            cases.insert().values(
                id=made, key=key, patient=new.patient, grouping=new.grouping, bundle_digest=new.bundle_digest,
                silent=new.silent, version=1 if before is None else before.version + 1,
                supersedes=None if before is None else before.id, state="queued", priority=new.priority, created=now,
                updated=now,
            )
        )  # fmt: skip
        rows = [
            {**{name: getattr(s, name) for name in _OF_A_SLIDE}, "id": uuid.uuid4().hex, "case_id": made}
            for s in joined.values()
        ]
        connection.execute(slides.insert(), rows)
        if new.patient != new.patient_id and not _is_known(connection, new.patient):
            connection.execute(people.insert().values(pseudonym=new.patient, patient_id=new.patient_id))
        audit.append(
            connection, actor, "submit", made, bundle=new.bundle_digest, silent=new.silent,
            slides=sorted(_unnamed(s.fingerprint) for s in joined.values()),
            supersedes=None if before is None else before.id,
        )  # fmt: skip
        return _row(connection, made)


def get(db: Engine, case_id: str) -> CaseRow:
    """The case of that id. Raises UnknownCase."""
    with reading(db) as connection:
        return _row(connection, case_id)


def slides_of(db: Engine, case_id: str) -> tuple[SlideRow, ...]:
    """The slides of a case, in order of their shown names."""
    with reading(db) as connection:
        return _slides(connection, case_id)


def patient_id(db: Engine, patient: str) -> str:
    """The patient's own id, for the shown one: for scoring alone."""
    with reading(db) as connection:
        asked = sa.select(people.c.patient_id).where(people.c.pseudonym == patient)
        return connection.execute(asked).scalar_one_or_none() or patient


def cancel(db: Engine, case_id: str, actor: str) -> CaseRow:
    """Cancel a case that waits or runs. Raises WrongState if it has ended, and UnknownCase."""
    with writing(db) as connection:
        row = _row(connection, case_id, locked=True)
        if row.state not in ("queued", "running"):
            raise WrongState(f"case {case_id} is {row.state}: there is nothing to cancel", "see its page")
        _change(connection, case_id, state="canceled", reason=f"canceled by {actor}", **_FREED)
        audit.append(connection, actor, "cancel", case_id, state=row.state)
        return _row(connection, case_id)


def retry(db: Engine, case_id: str, actor: str) -> CaseRow:
    """Score again a case that failed, was canceled or was not assessable. Raises WrongState for any other."""
    with writing(db) as connection:
        row = _row(connection, case_id, locked=True)
        if row.state not in ("failed", "canceled", "not_assessable") or row.superseded_by is not None:
            what = "superseded" if row.superseded_by is not None else row.state
            raise WrongState(f"case {case_id} is {what}: it cannot be tried again", "submit its slides")
        _change(
            connection, case_id, state="queued", reason="", attempts=0, scored_at=None, score=None, call=None, qc=None,
            cautions="", result=None, result_digest=None, viewed_by=None, viewed_at=None, **_FREED,
        )  # fmt: skip
        audit.append(connection, actor, "retry", case_id, state=row.state, result=row.result_digest)
        return _row(connection, case_id)


def prioritize(db: Engine, case_id: str, priority: int, actor: str) -> CaseRow:
    """Move a case forward (larger numbers) or back in the queue. Raises UnknownCase."""
    with writing(db) as connection:
        row = _row(connection, case_id, locked=True)
        if row.priority != priority:
            _change(connection, case_id, priority=priority)
            audit.append(connection, actor, "prioritize", case_id, before=row.priority, now=priority)
        return _row(connection, case_id)


def viewed(db: Engine, case_id: str, by: str) -> CaseRow:
    """Note who looked at a result last, and when. Raises WrongState before it has a result."""
    with writing(db) as connection:
        row = _row(connection, case_id, locked=True)
        if row.result is None:
            raise WrongState(f"case {case_id} is {row.state}: there is no result to view", "wait until it is scored")
        _change(connection, case_id, viewed_by=by, viewed_at=clock(connection))
        audit.append(connection, by, "view", case_id, result=row.result_digest)
        return _row(connection, case_id)


_OF_A_SLIDE = tuple(f.name for f in fields(NewSlide))
_FREED: dict[str, Any] = {"token": cases.c.token + 1, "owner": None, "lease_until": None}
"""Nobody has the case any more: the token of whoever had it is now old."""


def _unnamed(fingerprint: str) -> str:
    """A fingerprint as the audit keeps it, even when the case is erased; hashed, as some are made from addresses."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def _current(connection: Connection, new: NewCase) -> CaseRow | None:
    asked = sa.select(cases).where(
        cases.c.patient == new.patient, cases.c.bundle_digest == new.bundle_digest, cases.c.superseded_by.is_(None)
    )
    found = connection.execute(asked.with_for_update()).mappings().one_or_none()
    return None if found is None else CaseRow(**found)


def _supersede(connection: Connection, before: CaseRow, by: str, now: datetime) -> None:
    ended = before.state not in ("queued", "running")
    stopped = {} if ended else {"state": "canceled", "reason": SUPERSEDED, **_FREED}
    connection.execute(cases.update().where(cases.c.id == before.id).values(superseded_by=by, updated=now, **stopped))


def _change(connection: Connection, case_id: str, **values: Any) -> None:
    connection.execute(cases.update().where(cases.c.id == case_id).values(updated=clock(connection), **values))


def _row(connection: Connection, case_id: str, *, locked: bool = False) -> CaseRow:
    asked = sa.select(cases).where(cases.c.id == case_id)
    known = _ID.fullmatch(case_id) is not None  # some texts a database cannot even compare
    found = connection.execute(asked.with_for_update() if locked else asked).mappings().one_or_none() if known else None
    if found is None:
        raise UnknownCase(f"there is no case {case_id[:64]!r}", "see the list of cases")
    return CaseRow(**found)


def _slides(connection: Connection, case_id: str) -> tuple[SlideRow, ...]:
    asked = sa.select(slides).where(slides.c.case_id == case_id)
    found = [SlideRow(**row) for row in connection.execute(asked).mappings()]
    return tuple(sorted(found, key=lambda s: s.slide_id))


def _is_known(connection: Connection, pseudonym: str) -> bool:
    asked = sa.select(people.c.pseudonym).where(people.c.pseudonym == pseudonym)
    return connection.execute(asked).first() is not None
