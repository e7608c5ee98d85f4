"""Workers killed at random: no task is lost and none comes twice. `make chaos` does it a hundred times."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import engine_tasks
import pytest
from dask_cluster import cluster

from kras_plugins.engines.options import DaskOptions

KILLS = int(os.environ.get("KRAS_CHAOS", "0"))


@pytest.mark.skipif(not KILLS, reason="takes minutes: make chaos")
def test_nothing_is_lost_or_doubled_whoever_is_killed(tmp_path: Path) -> None:
    from kras_plugins.engines.dask_engine import dask_engine

    rng, over = random.Random(0), threading.Event()
    killed = 0
    with cluster(tmp_path / "dask", workers=3) as there:
        options = DaskOptions(scheduler=there.address, lost=100)
        with dask_engine(options, print, print) as dask:
            order = {"folder": str(tmp_path)}
            with dask.pool(engine_tasks.bench, order, {"library": {"numpy": "1"}}) as pool:

                def kill() -> None:
                    nonlocal killed
                    while killed < KILLS and not over.is_set():
                        time.sleep(rng.uniform(0.05, 0.5))
                        alive = [worker for worker in there.workers if worker.poll() is None]
                        if len(pool._slots) == len(alive):  # all have joined, and have work
                            rng.choice(alive).kill()
                            killed += 1
                            there.add()

                killer = threading.Thread(target=kill)
                killer.start()
                rounds = 0
                while killer.is_alive():
                    items = [{"name": f"{rounds}-{i}", "does": "naps"} for i in range(50)]
                    found = sorted(pool.map(engine_tasks.work, items), key=lambda one: one[0])
                    assert [i for i, _ in found] == list(range(50))
                    assert [one["name"] for _, one in found] == [item["name"] for item in items]
                    rounds += 1
        over.set()
        killer.join()
    assert killed == KILLS
    tries = sum(len(file.read_text().splitlines()) for file in tmp_path.glob("began-*"))
    print(f"{killed} workers killed in {rounds} rounds of 50 tasks; {tries - 50 * rounds} tasks were begun again")
