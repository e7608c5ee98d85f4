"""The life of a case, whatever people, workers and clocks do to it in whatever order."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from service_cases import case, scored

from kras_plugins.service import audit, cases, leases, worklist
from kras_plugins.service.cases import CaseRow, WrongState
from kras_plugins.service.database.engine import clock, open_database, reading
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.leases import Claim

RETRIES = 2
OPEN = ("queued", "running")
MAY = {
    "queued": {"queued", "running", "canceled"},
    "running": {"queued", "running", "scored", "failed", "canceled"},
    "scored": {"scored"},
    "failed": {"failed", "queued"},
    "canceled": {"canceled", "queued"},
}
"""What a state may become in one step."""


class Life(RuleBasedStateMachine):
    """Submits, claims, ends and interrupts cases; the database must never say what could not have happened."""

    submitted = Bundle("submitted")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.db = open_database(f"sqlite:///{Path(self.folder.name) / 'cases.sqlite'}")
        upgrade(self.db)
        self.before: dict[str, CaseRow] = {}
        self.kept: Counter[str] = Counter()

    def teardown(self) -> None:
        self.db.dispose()
        self.folder.cleanup()

    @rule(target=submitted, patient=st.sampled_from("ab"), slide=st.sampled_from("xyz"), priority=st.integers(0, 1))
    def submit(self, patient: str, slide: str, priority: int) -> str:
        return cases.submit(self.db, case(patient, f"{patient}{slide}", priority=priority), "me").id

    @rule(target=claims)
    def claim(self) -> Any:
        waiting = [one for one in self.all() if one.state == "queued"]
        found = leases.claim(self.db, "worker", 60)
        assert (found is None) == (not waiting)
        if found is not None:
            assert found.case.id == min(waiting, key=lambda one: (-one.priority, one.created, one.id)).id
        return found

    @rule(held=claims)
    def commit(self, held: Claim | None) -> None:
        if held is not None:
            where = f"{held.case.id}/{held.token}"
            mine = self.is_mine(held)
            done = leases.commit(self.db, held, scored(where))
            assert done == (mine or cases.get(self.db, held.case.id).result == where)
            self.kept[held.case.id] += mine

    @rule(held=consumes(claims), again=st.booleans())
    def fail(self, held: Claim | None, again: bool) -> None:
        if held is not None:
            mine = self.is_mine(held)
            assert leases.fail(self.db, held, "broken", again=again, retries=RETRIES) == mine

    @rule(held=claims)
    def release(self, held: Claim | None) -> None:
        if held is not None:
            mine = self.is_mine(held)
            assert leases.release(self.db, held) == mine

    @rule()
    def expire(self) -> None:
        running = sum(one.state == "running" for one in self.all())
        with reading(self.db) as connection:
            later = clock(connection) + timedelta(hours=1)
        assert leases.expire(self.db, RETRIES, now=later) == running

    @rule(case_id=submitted)
    def cancel(self, case_id: str) -> None:
        state = cases.get(self.db, case_id).state
        try:
            cases.cancel(self.db, case_id, "me")
            assert state in OPEN
        except WrongState:
            assert state not in OPEN

    @rule(case_id=submitted)
    def retry(self, case_id: str) -> None:
        row = cases.get(self.db, case_id)
        try:
            cases.retry(self.db, case_id, "me")
            assert row.state in ("failed", "canceled") and row.superseded_by is None
        except WrongState:
            assert row.state in (*OPEN, "scored") or row.superseded_by is not None

    def all(self) -> tuple[CaseRow, ...]:
        return worklist.listed(self.db, worklist.Filter(superseded=None), 500).cases

    def is_mine(self, held: Claim) -> bool:
        row = cases.get(self.db, held.case.id)
        return row.state == "running" and row.token == held.token

    @invariant()
    def nothing_is_impossible(self) -> None:
        found = {one.id: one for one in self.all()}
        assert found.keys() >= self.before.keys()
        for one in found.values():
            before = self.before.get(one.id)
            if before is not None:
                assert one.state in MAY[before.state] and one.token >= before.token
            assert (one.state == "running") == (one.owner is not None) == (one.lease_until is not None)
            assert (one.state == "scored") == (one.result is not None) == (self.kept[one.id] == 1)
            assert 0 <= one.attempts <= RETRIES + 1
        for patient in {one.patient for one in found.values()}:
            versions = sorted((one for one in found.values() if one.patient == patient), key=lambda one: one.version)
            assert [one.version for one in versions] == list(range(1, len(versions) + 1))
            assert [one.superseded_by for one in versions] == [*(one.id for one in versions[1:]), None]
            assert not any(one.state in OPEN for one in versions[:-1])
        assert audit.verify(self.db).wrong == ()
        self.before = found


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
