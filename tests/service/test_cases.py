"""A case is submitted once and grows by versions; people may cancel and retry it, and viewing it is recorded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from service_cases import BUNDLE, case, scored, slide
from sqlalchemy import Engine

from kras_plugins.service import audit, cases, leases
from kras_plugins.service.cases import SUPERSEDED, UnknownCase, WrongState
from kras_plugins.service.database import tables
from kras_plugins.service.database.engine import reading


def count(db: Engine, table: sa.Table) -> int:
    with reading(db) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_the_same_slides_are_one_case_whoever_submits_them_how_often(db: Engine) -> None:
    first = cases.submit(db, case("ann", "a", "b"), "me")
    again = cases.submit(db, case("ann", "b", "a"), "you")
    assert again == first
    assert first.state == "queued" and first.version == 1
    assert [s.name for s in cases.slides_of(db, first.id)] == ["a", "b"]
    assert [e.action for e in audit.entries(db)] == ["submit"]
    assert count(db, tables.people) == 1


def test_two_who_submit_at_once_make_one_case(db: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: cases.submit(db, case("ann", "a", "b"), f"user {i}").id, range(16)))
    assert len(set(found)) == 1 and count(db, tables.cases) == 1


def test_two_bundles_of_one_new_patient_may_be_submitted_at_once(db: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cases.submit(db, case("ann", "a", bundle_digest=f"{i}"), "me"), range(8)))
    assert (count(db, tables.cases), count(db, tables.people)) == (8, 1)


def test_cases_differ_by_patient_and_by_bundle(db: Engine) -> None:
    ids = {
        cases.submit(db, case(name, "a", bundle_digest=b), "me").id for name in ("ann", "bob") for b in (BUNDLE, "c")
    }
    assert len(ids) == 4


def test_a_late_slide_joins_those_that_are_there_and_the_version_before_stays(db: Engine) -> None:
    first = cases.submit(db, case("ann", "a"), "me")
    held = leases.claim(db, "worker", 60)
    assert held is not None and leases.commit(db, held, scored())
    second = cases.submit(db, case("ann", "b"), "me")
    before = cases.get(db, first.id)
    assert (second.version, second.supersedes, before.superseded_by) == (2, first.id, second.id)
    assert (before.state, before.score) == ("scored", 0.5)
    assert [s.name for s in cases.slides_of(db, second.id)] == ["a", "b"]
    assert cases.submit(db, case("ann", "a"), "me") == second  # the patient has that slide


def test_a_slide_that_was_scanned_again_takes_the_place_of_the_one_of_its_name(db: Engine) -> None:
    cases.submit(db, case("ann", "a", "b"), "me")
    second = cases.submit(db, case("ann", slide("a", "scanned again")), "me")
    assert [(s.name, s.fingerprint) for s in cases.slides_of(db, second.id)] == [("a", "scanned again"), ("b", "b")]


def test_what_waits_or_runs_is_not_scored_once_a_later_version_is_there(db: Engine) -> None:
    cases.submit(db, case("ann", "a"), "me")
    held = leases.claim(db, "worker", 60)
    assert held is not None
    second = cases.submit(db, case("ann", "b"), "me")
    third = cases.submit(db, case("ann", "c"), "me")
    assert [cases.get(db, one).state for one in (held.case.id, second.id, third.id)] == [
        "canceled",
        "canceled",
        "queued",
    ]
    assert cases.get(db, second.id).reason == SUPERSEDED
    assert not leases.commit(db, held, scored())
    with pytest.raises(WrongState, match="superseded"):
        cases.retry(db, second.id, "me")


def test_a_canceled_case_is_taken_from_its_worker_and_may_be_tried_again(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    held = leases.claim(db, "worker", 60)
    assert held is not None
    assert cases.cancel(db, made.id, "ann").reason == "canceled by ann"
    assert not leases.renew(db, held, 60) and not leases.commit(db, held, scored())
    with pytest.raises(WrongState, match="is canceled: there is nothing to cancel"):
        cases.cancel(db, made.id, "ann")
    again = cases.retry(db, made.id, "ann")
    assert (again.state, again.attempts) == ("queued", 0)
    assert not leases.commit(db, held, scored())
    taken = leases.claim(db, "worker", 60)
    assert taken is not None and taken.token > held.token


def test_a_scored_case_is_neither_canceled_nor_scored_again(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    held = leases.claim(db, "worker", 60)
    assert held is not None and leases.commit(db, held, scored())
    for does in (cases.cancel, cases.retry):
        with pytest.raises(WrongState, match="is scored"):
            does(db, made.id, "me")


def test_who_looked_at_a_result_is_noted_and_audited(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    with pytest.raises(WrongState, match="no result"):
        cases.viewed(db, made.id, "dr x")
    held = leases.claim(db, "worker", 60)
    assert held is not None and leases.commit(db, held, scored())
    seen = cases.viewed(db, made.id, "dr x")
    assert seen.viewed_by == "dr x" and seen.viewed_at is not None and seen.viewed_at.tzinfo is not None
    assert audit.entries(db, made.id)[-1].detail == {"result": "d" * 64}


def test_an_id_that_is_none_is_an_unknown_case(db: Engine) -> None:
    for name in ("", "0" * 32, "\0", "\udc80", "'; drop table cases", "x" * 10_000):
        with pytest.raises(UnknownCase):
            cases.get(db, name)


def test_only_the_table_of_people_says_who_a_pseudonym_is(db: Engine) -> None:
    cases.submit(db, case("ann", "a"), "me")
    assert cases.patient_id(db, "id-ann") == "ann"
    with reading(db) as connection:
        for table in (tables.cases, tables.audit):
            assert "'ann'" not in str(connection.execute(sa.select(table)).all())
