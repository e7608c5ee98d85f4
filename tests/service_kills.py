"""Workers of a service, killed or paused at random while they score."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import served
import sqlalchemy as sa
from served_worker import written
from sqlalchemy import Engine

from kras_plugins.errors import StoreError
from kras_plugins.service import audit, leases, worklist
from kras_plugins.service.bundles import open_bundles
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.database.engine import clock, open_database, reading, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import audit as entries
from kras_plugins.service.database.tables import cases
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.results import sweep
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.store import file_sha256
from kras_plugins.testing.slides import draw_slide

LEASE_S = 600.0
"""Longer than anything lasts here: a lease ends when the test says so, whatever the machine has to do beside."""
WAYS = ("killed", "killed", "paused", "scorer", "asked")
"""What is done to a worker: killed twice as often as paused past its lease, its process that scores killed, or asked
to stop."""
ENDS = ("scored", "not_assessable", "failed")


def round_of_kills(
    folder: Path, url: str, tables: Path, bundle: Path, patients: Sequence[int], kills: int, rng: random.Random
) -> Counter[str]:
    """Have two workers score a case for each patient while so many are killed or paused; what was done, counted.

    Fails where a case is lost, has two results or none, or where the audit is not whole.
    """
    settings = served.serving(folder, tables, [bundle], database=url, lease_s=LEASE_S, retries=1000)
    db = open_database(url)
    upgrade(db)
    before = audit.verify(db).entries
    arrivals = Arrivals(db, settings, open_bundles(settings))
    for patient in patients:
        slide = settings.roots[0] / f"TCGA-{patient % 6:02d}-{patient:04d}.tiff"
        draw_slide(slide, seed=patient, size_um=(64.0, 64.0), levels=1)
        arrivals.take([slide], "campaign")
    order = written(settings, folder / "order.json")
    with _Workers(order, db, rng) as workers:
        while left(db):
            workers.keep_two()
            if sum(workers.done.values()) < kills:
                workers.disturb()
            else:
                time.sleep(0.2)
    done = workers.done
    check(db, settings, len(patients), before, done)
    db.dispose()
    return done


def left(db: Engine) -> int:
    """Cases that have not ended."""
    found = worklist.counts(db)
    return found["queued"] + found["running"]


def check(db: Engine, settings: ServiceSettings, submissions: int, before: int, done: Counter[str]) -> None:
    """No case of this round lost, each committed once, its result there and the only one, the audit whole."""
    with reading(db) as connection:
        asked = sa.select(entries.c.subject, entries.c.action).where(entries.c.number > before)
        told = connection.execute(asked).all()
    submitted = [subject for subject, action in told if action == "submit"]
    ended = Counter(subject for subject, action in told if action in ENDS)
    assert len(submitted) == submissions
    assert ended == Counter(submitted), "a case was lost or ended twice"
    rows = {one.id: one for one in _all(db) if one.id in ended}
    assert {one.state for one in rows.values()} <= {"scored", "not_assessable"}, [r.reason for r in rows.values()]
    sweep(db, settings, young_s=0)
    for one in rows.values():
        (kept,) = (settings.results / one.id).iterdir()
        assert f"{one.id}/{kept.name}" == one.result
        assert file_sha256(kept / "predictions.csv") == one.result_digest
    assert audit.verify(db).wrong == ()
    done["cases"] += submissions
    done["again"] += sum(action in ("again", "release") for _, action in told)


def _all(db: Engine) -> list[CaseRow]:
    found, after = [], None
    while True:
        page = worklist.listed(db, worklist.Filter(after=after), worklist.MOST)
        found += page.cases
        if (after := page.after) is None:
            return found


class _Workers:
    """Two workers at a time, in processes of their own, and what was done to them."""

    def __init__(self, order: Path, db: Engine, rng: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self._order, self._db, self._rng = order, db, rng
        self._there: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._there:
            one.terminate()
        for one in self._there:
            one.wait()

    def keep_two(self) -> None:
        """Start others for those that are gone."""
        self._there = [one for one in self._there if one.poll() is None]
        while len(self._there) < 2:
            self._there.append(served.worker_process(self._order))

    def disturb(self) -> None:
        """Kill, pause or stop one of those that have a case in hand, a while after it was seen to have one."""
        busy = [one for one in self._there if f"-{one.pid}-" in self._owners()]
        if not busy:
            time.sleep(0.05)
            return
        victim, how = self._rng.choice(busy), self._rng.choice(WAYS)
        time.sleep(self._rng.uniform(0, 2))
        scorers = children(victim.pid)
        if how == "killed":
            victim.kill()
            victim.wait()
            self._let_expire(victim)
            for pid in scorers:
                _gone(pid)
        elif how == "paused":
            victim.send_signal(signal.SIGSTOP)
            self._let_expire(victim)
            time.sleep(self._rng.uniform(0, 6))  # the other one may take its case, and end it
            victim.send_signal(signal.SIGCONT)
        elif how == "asked":
            victim.terminate()
            victim.wait()
            for pid in scorers:
                _gone(pid)
        elif not scorers:
            return
        else:
            with suppress(ProcessLookupError):
                os.killpg(scorers[0], signal.SIGKILL)
        self.done[how] += 1

    def _let_expire(self, victim: subprocess.Popen[bytes]) -> None:
        """Its lease is over, as if it had been silent for so long."""
        mine = cases.c.owner.contains(f"-{victim.pid}-") & (cases.c.state == "running")
        while True:
            try:
                with writing(self._db) as connection:
                    over = clock(connection) - timedelta(seconds=1)
                    connection.execute(cases.update().where(mine).values(lease_until=over))
                leases.expire(self._db, 1000)
                return
            except StoreError:  # it was paused while it wrote, so nobody else can
                victim.send_signal(signal.SIGCONT)

    def _owners(self) -> str:
        page = worklist.listed(self._db, worklist.Filter(state="running"), 10)
        return " ".join(str(one.owner) for one in page.cases)


def children(pid: int) -> list[int]:
    """The processes that a process started, where the system tells."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in file.read_text().split()] if file.exists() else []


def _gone(pid: int) -> None:
    """Wait until an orphan has noticed that nobody waits for it."""
    for _ in range(1200):
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError("what scored for a worker outlived it")
