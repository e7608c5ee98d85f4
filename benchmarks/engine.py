"""The overhead of engine `dask` per slide: empty tasks through a real scheduler and two workers.

    python benchmarks/engine.py --tasks 10000

Prints milliseconds per task: wall clock, CPU in this process, which assigns tasks and runs the scheduler, and CPU in
all workers.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kras_plugins.engines.dask_engine import dask_engine
from kras_plugins.engines.options import DaskOptions


@contextmanager
def bench(_order: Mapping[str, Any], _tell: Any) -> Iterator[tuple[None, dict[str, Any]]]:
    """Nothing to work with."""
    yield None, {}


def nothing(_bench: None, item: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a slide: digests."""
    return {"fingerprint": item["slide_id"], "artifacts": dict.fromkeys(("tissue", "bag", "map"), "0" * 64)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    told = parser.parse_args()
    items = [{"slide_id": f"TCGA-{i:06d}", "path": f"/data/slides/{i:06d}.svs", "mpp": None} for i in range(told.tasks)]
    options = DaskOptions(cluster="local", jobs=told.workers)
    with dask_engine(options, print, print) as dask, dask.pool(bench, {}, {}) as pool:
        list(pool.map(nothing, items[:100]))
        there = sum(dask._client.run(time.process_time).values())
        clock, cpu = time.perf_counter(), time.process_time()
        done = sum(1 for _ in pool.map(nothing, items, [float(i % 97) for i in range(len(items))]))
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        there = sum(dask._client.run(time.process_time).values()) - there
    each = {"ms each": clock, "ms of CPU here": cpu, "in the workers": there}
    measured = ", ".join(f"{seconds / done * 1e3:.2f} {what}" for what, seconds in each.items())
    print(f"{done} tasks, {told.workers} workers: {measured}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
