"""The worklist: every case once over its pages, in order, by an index."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from service_cases import BUNDLE, case, scored
from sqlalchemy import Engine

from kras_plugins.errors import UsageError
from kras_plugins.service import cases, leases, worklist
from kras_plugins.service.database import tables
from kras_plugins.service.database.engine import reading, writing
from kras_plugins.service.worklist import Filter, listed

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def fill(db: Engine, n: int) -> list[dict[str, Any]]:
    """So many cases, as if they had been submitted and scored; some at the same moment."""
    rng = random.Random(0)
    rows: list[dict[str, Any]] = [
        {
            "id": f"{rng.getrandbits(128):032x}", "key": f"{i}", "patient": f"id-{rng.getrandbits(40):010x}",
            "grouping": "api", "bundle_digest": BUNDLE, "silent": i % 50 == 0, "version": 1,
            "state": ("scored", "queued", "failed")[min(rng.randrange(40), 2) if rng.random() < 0.1 else 0],
            "created": NOON + timedelta(seconds=i // 3), "updated": NOON,
            "score": None if i % 7 == 0 else round(rng.random(), 2), "qc": rng.choice(["pass", "warn"]),
            "call": rng.choice(["rule_in", "rule_out", "indeterminate"]),
        }
        for i in range(n)
    ]  # fmt: skip
    with writing(db) as connection:
        connection.execute(tables.cases.insert(), rows)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ANALYZE cases"))
    return rows


def walked(db: Engine, chosen: Filter, limit: int) -> list[cases.CaseRow]:
    found, after = [], None
    while True:
        page = listed(db, replace(chosen, after=after), limit)
        found += page.cases
        if (after := page.after) is None:
            return found


def test_pages_show_every_case_once_and_in_order(db: Engine) -> None:
    rows = fill(db, 100)
    orders: list[tuple[worklist.Sort, str, bool]] = [
        ("newest", "created", True), ("oldest", "created", False), ("score", "score", True),
        ("patient", "patient", False),
    ]  # fmt: skip
    for sort, column, down in orders:
        shown = [row for row in rows if row[column] is not None]
        expected = sorted(shown, key=lambda row: (row[column], row["id"]), reverse=down)
        found = walked(db, Filter(sort=sort, silent=None), 7)
        assert [one.id for one in found] == [row["id"] for row in expected], sort


def test_a_page_shows_what_was_chosen(db: Engine) -> None:
    rows = fill(db, 100)
    found = walked(db, Filter(call="rule_in", qc="warn", state="scored"), 10)
    assert {one.id for one in found} == {
        row["id"] for row in rows
        if (row["call"], row["qc"], row["state"], row["silent"]) == ("rule_in", "warn", "scored", False)
    }  # fmt: skip
    begin = str(rows[3]["patient"])[:8]
    assert {one.patient for one in walked(db, Filter(text=begin, silent=None), 10)} == {
        row["patient"] for row in rows if str(row["patient"]).startswith(begin)
    }
    assert [one.id for one in walked(db, Filter(text=str(rows[3]["id"])), 10)] == [rows[3]["id"]]
    assert all(one.silent for one in walked(db, Filter(silent=True), 10))


def test_superseded_versions_are_shown_where_they_are_asked_for(db: Engine) -> None:
    first, second = (cases.submit(db, case("ann", name), "me") for name in "ab")
    assert [one.id for one in listed(db, Filter()).cases] == [second.id]
    assert [one.id for one in listed(db, Filter(superseded=True)).cases] == [first.id]
    assert len(listed(db, Filter(superseded=None)).cases) == 2


def test_a_case_that_comes_meanwhile_moves_none_to_another_page(db: Engine) -> None:
    fill(db, 20)
    first = listed(db, Filter(silent=None), 10)
    cases.submit(db, case("late"), "me")
    second = listed(db, Filter(silent=None, after=first.after), 10)
    assert not {one.id for one in first.cases} & {one.id for one in second.cases}
    assert len(second.cases) == 10 and second.after is None


def test_what_cannot_be_meant_is_refused_before_the_database_is_asked(db: Engine) -> None:
    wrong: list[Filter] = [
        *(Filter(after=place) for place in ("nonsense", "é", "bnVsbA")), Filter(text="\0"), Filter(state="\udc80"),
        Filter(sort="bundle_digest"),  # type: ignore[arg-type]
        Filter(sort="patient", after="WyJzY29yZSIsIDEsICJ4Il0"),
        Filter(sort="score", after="WyJzY29yZSIsICJ4IiwgIngiXQ"),
    ]  # fmt: skip
    for chosen in wrong:
        with pytest.raises(UsageError):
            listed(db, chosen)
    for limit in (0, -1, 501):
        with pytest.raises(UsageError, match="must be 1 to 500"):
            listed(db, Filter(), limit)


def test_cases_are_counted_by_state(db: Engine) -> None:
    cases.submit(db, case("ann"), "me")
    cases.submit(db, case("bob"), "me")
    held = leases.claim(db, "worker", 60)
    assert held is not None and leases.commit(db, held, scored())
    expected = {"queued": 1, "running": 0, "scored": 1, "not_assessable": 0, "failed": 0, "canceled": 0}
    assert worklist.counts(db) == expected


def plan(db: Engine, query: sa.Select[Any]) -> str:
    """How the database would answer."""
    text = str(query.compile(db, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN" if db.dialect.name == "sqlite" else "EXPLAIN"
    with reading(db) as connection:
        return "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {text}".replace("%", "%%")))


def test_the_first_and_a_later_page_come_by_an_index_and_nothing_is_sorted(db: Engine) -> None:
    fill(db, 2000)
    for chosen, index in (
        (Filter(), "ix_cases_newest"), (Filter(sort="oldest"), "ix_cases_newest"),
        (Filter(sort="score"), "ix_cases_score"), (Filter(sort="patient"), "ix_cases_patient"),
        (Filter(state="failed"), "ix_cases_state_newest"),
    ):  # fmt: skip
        page = listed(db, chosen, 20)
        for one in (chosen, replace(chosen, after=page.after)):
            told = plan(db, worklist.query(one, 20))
            assert index in told, told
            assert "TEMP B-TREE" not in told and "Sort" not in told and "Seq Scan" not in told, told
