"""A worker scores as `kras predict` does, and a failure of one case affects only this case."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import served
from cohorts import kras, read_rows
from served_worker import written
from sqlalchemy import Engine

from kras_plugins.service import audit, cases, leases, worklist
from kras_plugins.service.bundles import Bundles, open_bundles
from kras_plugins.service.cases import CaseRow
from kras_plugins.service.database.engine import open_database
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.results import sweep
from kras_plugins.service.scoring import CHANGED, GONE
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.service.worker import Worker


@dataclass(frozen=True)
class Service:
    db: Engine
    settings: ServiceSettings
    bundles: Bundles

    def submitted(self, patient: int) -> CaseRow:
        slide = served.arrive(self.settings.roots[0], patient)
        return Arrivals(self.db, self.settings, self.bundles).take([slide], "me")[0]

    def worker(self) -> Worker:
        return Worker(self.db, self.settings, self.bundles)

    def result(self, case_id: str) -> Path:
        return self.settings.results / str(cases.get(self.db, case_id).result)


@pytest.fixture
def service(tmp_path: Path, tables: Path, bundle: Path) -> Iterator[Service]:
    settings = served.serving(tmp_path, tables, [bundle], lease_s=30.0)
    db = open_database(settings.database_url)
    upgrade(db)
    yield Service(db, settings, open_bundles(settings))
    db.dispose()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition, as long as a slow machine may take."""
    for _ in range(1200):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_a_result_is_what_predict_writes_and_names_nobody(service: Service, tables: Path, tmp_path: Path) -> None:
    made = service.submitted(0)
    service.worker().run(until_empty=True)
    done = cases.get(service.db, made.id)
    assert done.state in ("scored", "not_assessable") and done.score is not None
    slide = service.settings.roots[0] / "TCGA-00-0000.svs"
    table = tmp_path / "cohort.csv"
    table.write_text(f"patient_id,slide_id,path\nTCGA-00-0000,TCGA-00-0000,{slide}\n")
    ran = kras(
        "predict", service.settings.bundles[0], table, "--out", "out", "--pseudonyms", str(service.settings.names),
        "--profile-table", f"{tables / 'LUAD.csv'},{tables / 'LUSC.csv'}", cwd=tmp_path, store=tmp_path / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for name in ("predictions.csv", "failures.csv"):
        assert (service.result(made.id) / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    row = read_rows(service.result(made.id) / "predictions.csv")[0]
    assert (row["patient_id"], row["call"], float(row["ensemble"])) == (done.patient, done.call, done.score)
    told = [p for p in service.settings.results.rglob("*") if p.is_file() and b"TCGA-00-0000" in p.read_bytes()]
    assert told == []
    assert list(service.settings.work.iterdir()) == []


def test_a_slide_that_changed_or_went_fails_its_own_case_for_good(service: Service) -> None:
    changed, gone, whole = (service.submitted(i) for i in range(3))
    served_slides = service.settings.roots[0]
    (served_slides / "TCGA-00-0000.svs").write_bytes(b"another slide")
    (served_slides / "TCGA-01-0001.svs").unlink()
    service.worker().run(until_empty=True)
    found = {one.id: one for one in worklist.listed(service.db, worklist.Filter()).cases}
    assert (found[changed.id].state, found[changed.id].reason) == ("failed", CHANGED)
    assert (found[gone.id].state, found[gone.id].reason) == ("failed", GONE)
    assert found[whole.id].result is not None and found[whole.id].attempts == 1
    assert audit.verify(service.db).wrong == ()


def scorer(worker: Worker) -> int | None:
    """The process that scores for a worker, once there is one."""
    return None if worker._child._process is None else worker._child._process.pid


def test_a_process_that_is_killed_costs_one_more_attempt_and_a_worker_that_stops_gives_its_case_back(
    service: Service,
) -> None:
    made = service.submitted(0)
    worker = service.worker()
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        until(lambda: scorer(worker) is not None)
        os.killpg(scorer(worker) or 0, signal.SIGKILL)
        until(lambda: cases.get(service.db, made.id).reason != "")
        assert cases.get(service.db, made.id).reason == "scoring broke off: its end by SIGKILL"
        until(lambda: cases.get(service.db, made.id).attempts == 2 and scorer(worker) is not None)
    finally:
        worker.stop(now=True)
        thread.join()
    again = cases.get(service.db, made.id)
    assert (again.state, again.attempts) == ("queued", 1) and scorer(worker) is None
    assert not (service.settings.results / made.id).exists() or not list((service.settings.results / made.id).iterdir())


def test_a_canceled_case_ends_its_process(service: Service) -> None:
    hasty = Service(service.db, replace(service.settings, lease_s=2.0), service.bundles)
    made = hasty.submitted(0)
    worker = hasty.worker()
    thread = threading.Thread(target=worker.run, args=(True,))
    thread.start()
    until(lambda: scorer(worker) is not None)
    pid = scorer(worker)
    cases.cancel(hasty.db, made.id, "me")
    thread.join()
    assert cases.get(hasty.db, made.id).state == "canceled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_a_silent_bundle_is_scored_beside_the_locked_one_and_shown_to_nobody(
    tmp_path: Path, tables: Path, bundle: Path
) -> None:
    other = served.small_bundle(tables, tmp_path / "other", seed=1)
    settings = served.serving(tmp_path, tables, [bundle], silent=(other,))
    db = open_database(settings.database_url)
    upgrade(db)
    bundles = open_bundles(settings)
    shown, silent = Arrivals(db, settings, bundles).take([served.arrive(settings.roots[0], 0)], "me")
    assert (shown.silent, silent.silent) == (False, True) and silent.priority < shown.priority
    assert shown.patient == silent.patient
    assert [one.id for one in worklist.listed(db, worklist.Filter()).cases] == [shown.id]
    Worker(db, settings, bundles).run(until_empty=True)
    assert [e.subject for e in audit.entries(db) if e.action == "claim"] == [shown.id, silent.id]
    scores = [cases.get(db, one.id).score for one in (shown, silent)]
    assert None not in scores and scores[0] != scores[1]  # each by its own bundle
    db.dispose()


def test_what_no_case_has_as_its_result_is_swept_away(service: Service) -> None:
    made = service.submitted(0)
    held = leases.claim(service.db, "worker", 60)
    assert held is not None
    for name in (f"{made.id}/0", f"{made.id}/{held.token}", "unknown/1"):
        (service.settings.results / name).mkdir(parents=True)
    for name in (f"{made.id}-{held.token}", f"{made.id}-0", "old-worker.log"):
        (service.settings.work / name).mkdir(parents=True)
    assert sweep(service.db, service.settings) == 0  # they are young
    assert sweep(service.db, service.settings, young_s=0) == 4
    assert [p.name for p in (service.settings.results / made.id).iterdir()] == [str(held.token)]
    assert [p.name for p in service.settings.work.iterdir()] == [f"{made.id}-{held.token}"]


def test_a_worker_process_ends_at_sigterm_and_so_does_what_scores_for_it(service: Service, tmp_path: Path) -> None:
    made = service.submitted(0)
    process = served.worker_process(written(service.settings, tmp_path / "order.json"))
    until(lambda: cases.get(service.db, made.id).state == "running")
    process.terminate()
    assert process.wait(120) == 0
    assert cases.get(service.db, made.id).state in ("queued", "scored", "not_assessable")
