"""The worklist: cases by page, filtered and sorted, always by an index."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Engine

from kras_plugins.errors import UsageError
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.database.engine import reading
from kras_plugins.service.database.tables import STATES, cases

Sort = Literal["newest", "oldest", "score", "patient"]
MOST = 500
"""Cases on one page."""
_SORTS: dict[str, tuple[sa.Column[Any], bool]] = {
    "newest": (cases.c.created, True),
    "oldest": (cases.c.created, False),
    "score": (cases.c.score, True),
    "patient": (cases.c.patient, False),
}
"""The column that a page is sorted by, before the id, and whether in descending order."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which cases to list, in which order, and from where.

    `text`: a prefix of the shown patient or of the case's id. `sort` by `score` lists scored cases, highest first.
    `after`: where the previous page ended. `silent` and `superseded`: only these (True), none of them (False), or all.
    """

    state: str | None = None
    call: str | None = None
    qc: str | None = None
    text: str = ""
    sort: Sort = "newest"
    after: str | None = None
    silent: bool | None = False
    superseded: bool | None = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some cases, and the `after` that requests the next page: None at the end."""

    cases: tuple[CaseRow, ...]
    after: str | None


def listed(db: Engine, chosen: Filter, limit: int = 50) -> Page:
    """A page of at most `limit` cases. Raises UsageError for an invalid place, order or number."""
    if not 1 <= limit <= MOST:
        raise UsageError(f"limit {limit}: must be 1 to {MOST}", "for example 50")
    with reading(db) as connection:
        rows = [CaseRow(**row) for row in connection.execute(query(chosen, limit + 1)).mappings()]
    more = len(rows) > limit
    return Page(cases=tuple(rows[:limit]), after=_place(chosen.sort, rows[limit - 1]) if more else None)


def query(chosen: Filter, limit: int) -> sa.Select[Any]:
    """The query of `listed`; raises UsageError as it does."""
    if chosen.sort not in _SORTS:
        raise UsageError(f"sort {chosen.sort}: is not known", f"choose one of {', '.join(_SORTS)}")
    column, down = _SORTS[chosen.sort]
    asked = sa.select(cases).order_by(*((c.desc() if down else c) for c in (column, cases.c.id))).limit(limit)
    for name in ("state", "call", "qc", "silent"):
        if getattr(chosen, name) is not None:
            asked = asked.where(cases.c[name] == getattr(chosen, name))
    if chosen.superseded is not None:
        gone = cases.c.superseded_by.is_not(None)
        asked = asked.where(gone if chosen.superseded else ~gone)
    if not all(_is_text(part) for part in (chosen.state, chosen.call, chosen.qc, chosen.text)):
        raise UsageError("a filter has characters that no database accepts", "leave out what cannot be printed")
    if chosen.text:
        asked = asked.where(_begins(cases.c.patient, chosen.text) | _begins(cases.c.id, chosen.text))
    if chosen.sort == "score":
        asked = asked.where(cases.c.score.is_not(None))
    if chosen.after is not None:
        here, last = sa.tuple_(column, cases.c.id), sa.tuple_(*_values(chosen.sort, chosen.after))
        asked = asked.where(here < last if down else here > last)
    return asked


def counts(db: Engine) -> dict[str, int]:
    """How many cases are in each state, including silent and superseded ones."""
    asked = sa.select(cases.c.state, sa.func.count().label("n")).group_by(cases.c.state)
    with reading(db) as connection:
        found = {row.state: row.n for row in connection.execute(asked)}
    return {state: found.get(state, 0) for state in STATES}


def _is_text(text: str | None) -> bool:
    """Whether a database can compare it: PostgreSQL allows no zero bytes, and neither allows lone surrogates."""
    return text is None or ("\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text))


def _begins(column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    """The prefix as a range, for which the database can use an index in byte order."""
    return (column >= text) & (column < text + "\U0010ffff")


def _place(sort: str, row: CaseRow) -> str:
    value = getattr(row, _SORTS[sort][0].name)
    told = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([sort, told, row.id]).encode()).decode().rstrip("=")


def _values(sort: str, after: str) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    column = _SORTS[sort][0]
    try:
        said, value, case_id = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        if said != sort:
            raise ValueError("of another order")
        if column is cases.c.created:
            value = datetime.fromisoformat(value)
        if (isinstance(value, datetime) and value.tzinfo is None) or not isinstance(case_id, str):
            raise ValueError("no place")
        kind = {"score": (float, int), "patient": (str,)}.get(sort, (datetime,))
        if not isinstance(value, kind) or not all(_is_text(x) for x in (value, case_id) if isinstance(x, str)):
            raise ValueError("no place")
    except (ValueError, TypeError, binascii.Error, RecursionError) as e:
        raise UsageError("after: is not a place in this list", "begin at the first page") from e
    return sa.literal(value, column.type), sa.literal(case_id, cases.c.id.type)
