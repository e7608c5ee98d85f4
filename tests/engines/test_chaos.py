"""Workers killed at random: no task is lost or repeated. `make chaos` does it a hundred times.

Successes are counted in `build/chaos-dask.json`; after a kill it continues from there.
"""

from __future__ import annotations

import json
import os
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import engine_tasks
import pytest
from dask_cluster import Cluster, cluster

from kras_plugins.engines.options import DaskOptions

KILLS = int(os.environ.get("KRAS_CHAOS", "0"))
COUNTED = Path(__file__).resolve().parents[2] / "build" / "chaos-dask.json"
TASKS, WORKERS, LEAST = 50, 3, 2


def counted(file: Path, kills: int) -> dict[str, int]:
    """Counts of earlier calls toward this many kills; zeros if they had reached them."""
    fresh = {"killed": 0, "rounds": 0, "again": 0}
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text())
        return {name: int(found[name]) for name in fresh} if found["killed"] < kills else fresh
    return fresh


class Killer:
    """Kills a worker at random as long as others have joined, until a round is over; whoever is gone is replaced.

    Where the machine has other work, a worker takes as long to start as many rounds do: who waited until all have
    joined would kill none, and nobody would see why.
    """

    def __init__(self, there: Cluster, pool: Any, rng: random.Random, most: int) -> None:
        self.killed, self._over = 0, threading.Event()
        self._there, self._pool, self._rng, self._most = there, pool, rng, most
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _kill(self) -> None:
        while self.killed < self._most and not self._over.wait(self._rng.uniform(0.05, 0.5)):
            alive = [worker for worker in self._there.workers if worker.poll() is None]
            for _ in range(len(alive), WORKERS):
                self._there.add()
            if alive and len(self._pool._slots) >= LEAST:
                self._rng.choice(alive).kill()
                self.killed += 1


def test_counts_go_on_until_they_are_reached(tmp_path: Path) -> None:
    file, fresh = tmp_path / "chaos.json", {"killed": 0, "rounds": 0, "again": 0}
    assert counted(file, 10) == fresh
    file.write_text('{"killed": 4, "rounds": 2, "again": 1}')
    assert counted(file, 10) == {"killed": 4, "rounds": 2, "again": 1}
    assert counted(file, 4) == fresh
    file.write_text('{"killed": 4')
    assert counted(file, 10) == fresh


@pytest.mark.skipif(not KILLS, reason="takes minutes: make chaos")
def test_nothing_is_lost_or_doubled_whoever_is_killed(tmp_path: Path) -> None:
    from kras_plugins.engines.dask_engine import dask_engine

    count = counted(COUNTED, KILLS)
    rng = random.Random(count["killed"])
    COUNTED.parent.mkdir(exist_ok=True)
    with cluster(tmp_path / "dask", workers=WORKERS) as there:
        options = DaskOptions(scheduler=there.address, lost=100)
        with dask_engine(options, print, print) as dask:
            order = {"folder": str(tmp_path)}
            with dask.pool(engine_tasks.bench, order, {"library": {"numpy": "1"}}) as pool:
                while count["killed"] < KILLS:
                    one = f"round{count['rounds']}"
                    items = [{"name": f"{one}-{i}", "does": "naps"} for i in range(TASKS)]
                    with Killer(there, pool, rng, KILLS - count["killed"]) as killer:
                        found = sorted(pool.map(engine_tasks.work, items), key=lambda one: one[0])
                    assert [i for i, _ in found] == list(range(TASKS))
                    assert [done["name"] for _, done in found] == [item["name"] for item in items]
                    tries = sum(len(file.read_text().splitlines()) for file in tmp_path.glob(f"began-{one}-*"))
                    count["killed"] += killer.killed
                    count["rounds"] += 1
                    count["again"] += tries - TASKS
                    COUNTED.write_text(json.dumps(count))
                    print(f"{count['killed']} of {KILLS} killed in {count['rounds']} rounds", flush=True)
    print(
        f"{count['killed']} workers killed in {count['rounds']} rounds of {TASKS} tasks: 0 lost, 0 doubled, "
        f"{count['again']} begun again"
    )
