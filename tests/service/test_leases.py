"""A case belongs to one worker at a time, and only the result of its last holder counts."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from service_cases import case, scored
from sqlalchemy import Engine

from kras_plugins.service import audit, cases, leases
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.leases import LOST, Claim

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def taken(db: Engine, owner: str = "worker", now: datetime = NOON, **more: object) -> Claim:
    found = leases.claim(db, owner, 60, now=now, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_cases_are_taken_by_priority_then_by_age(db: Engine) -> None:
    for name, priority in (("old", 0), ("new", 0), ("urgent", 5), ("silent", -1)):
        cases.submit(db, case(name, priority=priority), "me")
    order = [taken(db).case.patient for _ in range(4)]
    assert order == ["id-urgent", "id-old", "id-new", "id-silent"]
    assert leases.claim(db, "worker", 60) is None


def test_a_worker_takes_cases_of_the_bundles_that_it_has(db: Engine) -> None:
    cases.submit(db, case("ann", bundle_digest="other"), "me")
    cases.submit(db, case("bob", bundle_digest="mine"), "me")
    assert taken(db, bundles=["mine"]).case.patient == "id-bob"
    assert leases.claim(db, "worker", 60, ["mine"]) is None


def test_no_two_threads_get_one_case(db: Engine) -> None:
    for i in range(24):
        cases.submit(db, case(f"patient {i}"), "me")

    def all_of_them(owner: str) -> list[str]:
        found = []
        while (one := leases.claim(db, owner, 60)) is not None:
            found.append(one.case.id)
        return found

    with ThreadPoolExecutor(8) as pool:
        found = [one for some in pool.map(all_of_them, map(str, range(8))) for one in some]
    assert len(found) == len(set(found)) == 24
    assert audit.verify(db).wrong == ()


def claim_all(url: str, owner: str, found: multiprocessing.Queue[str]) -> None:
    """Take all cases, in another process."""
    db = open_database(url)
    while (one := leases.claim(db, owner, 60)) is not None:
        found.put(one.case.id)
    db.dispose()


def test_no_two_processes_get_one_case(db: Engine) -> None:
    for i in range(12):
        cases.submit(db, case(f"patient {i}"), "me")
    context = multiprocessing.get_context("spawn")
    found: multiprocessing.Queue[str] = context.Queue()
    processes = [
        context.Process(target=claim_all, args=(db.url.render_as_string(False), str(i), found)) for i in range(2)
    ]
    for one in processes:
        one.start()
    ids = [found.get(timeout=120) for _ in range(12)]
    for one in processes:
        one.join()
    assert found.empty() and len(set(ids)) == 12


def test_a_case_of_a_lost_worker_is_taken_by_another_and_the_first_ones_commit_is_refused(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    lost = taken(db, "lost")
    assert leases.expire(db, 3, now=NOON + timedelta(seconds=59)) == 0
    assert leases.expire(db, 3, now=NOON + timedelta(seconds=61)) == 1
    again = cases.get(db, made.id)
    assert (again.state, again.reason, again.owner) == ("queued", LOST, None)
    second = taken(db, "second")
    assert second.token > lost.token and second.case.attempts == 2
    assert not leases.renew(db, lost, 60)
    assert not leases.commit(db, lost, scored("late/1"))
    assert not leases.fail(db, lost, "late", again=False, retries=3)
    assert not leases.release(db, lost)
    assert leases.commit(db, second, scored("second/2"))
    assert not leases.commit(db, lost, scored("late/1"))
    done = cases.get(db, made.id)
    assert (done.state, done.result, done.owner, done.lease_until) == ("scored", "second/2", None, None)
    assert [e.action for e in audit.entries(db)] == ["submit", "claim", "again", "claim", "scored"]


def test_a_late_worker_may_commit_as_long_as_nobody_else_took_the_case(db: Engine) -> None:
    cases.submit(db, case(), "me")
    late = taken(db, now=datetime(2020, 1, 1, tzinfo=UTC))
    assert leases.commit(db, late, scored())


def test_who_is_not_sure_that_a_commit_was_kept_may_ask_again(db: Engine) -> None:
    cases.submit(db, case(), "me")
    held = taken(db)
    assert leases.commit(db, held, scored("mine/1")) and leases.commit(db, held, scored("mine/1"))
    assert not leases.commit(db, held, scored("another/1"))
    assert [e.action for e in audit.entries(db)].count("scored") == 1


def test_a_renewed_lease_does_not_end(db: Engine) -> None:
    cases.submit(db, case(), "me")
    held = taken(db)
    assert leases.renew(db, held, 60, now=NOON + timedelta(seconds=50))
    assert leases.expire(db, 3, now=NOON + timedelta(seconds=100)) == 0
    assert leases.expire(db, 3, now=NOON + timedelta(seconds=111)) == 1


def test_a_case_fails_when_its_worker_was_lost_once_more_than_the_retries(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    for attempt in range(3):
        assert taken(db).case.attempts == attempt + 1
        leases.expire(db, 2, now=NOON + timedelta(hours=1))
    failed = cases.get(db, made.id)
    assert (failed.state, failed.reason) == ("failed", "its worker was lost (3 times)")


def test_a_fault_of_the_case_itself_is_final(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    assert leases.fail(db, taken(db), "no slide", again=False, retries=3)
    assert (cases.get(db, made.id).state, cases.get(db, made.id).reason) == ("failed", "no slide")


def test_what_is_given_back_counts_as_not_tried(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    for _ in range(5):
        assert leases.release(db, taken(db))
    again = cases.get(db, made.id)
    assert (again.state, again.attempts) == ("queued", 0)


def test_what_is_done_beside_a_commit_is_done_with_it_or_not_at_all(db: Engine) -> None:
    made = cases.submit(db, case(), "me")
    held = taken(db)

    def breaks(connection: sa.Connection, ended: cases.CaseRow) -> None:
        assert ended.state == "scored"
        raise RuntimeError("no message could be written")

    with pytest.raises(RuntimeError):
        leases.commit(db, held, scored(), breaks)
    assert cases.get(db, made.id).state == "running"
    heard: list[cases.CaseRow] = []
    assert leases.commit(db, held, scored(), lambda _, ended: heard.append(ended))
    assert [one.id for one in heard] == [made.id]
