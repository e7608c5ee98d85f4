"""What a page of the worklist takes with many cases in the database: `python benchmarks/worklist.py [URL] [CASES]`.

Without a PostgreSQL URL it fills a SQLite file. Wall time and CPU time of this process, median of 20 pages.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Engine

from kras_plugins.service import worklist
from kras_plugins.service.database.engine import open_database, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import cases
from kras_plugins.service.worklist import Filter

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def fill(db: Engine, n: int) -> None:
    """Add `n` cases, of which one in a thousand waits and one in a hundred has failed."""
    rng = random.Random(0)
    for start in range(0, n, 1000):
        rows = [
            {
                "id": uuid.UUID(int=rng.getrandbits(128)).hex, "key": str(i),
                "patient": f"id-{rng.getrandbits(80):020x}",
                "grouping": "alone", "bundle_digest": "b" * 64, "silent": False, "version": 1,
                "state": "queued" if i % 1000 == 0 else "failed" if i % 100 == 0 else "scored",
                "created": BEGAN + timedelta(seconds=i), "updated": BEGAN, "score": rng.random(),
                "call": rng.choice(["rule_in", "rule_out", "indeterminate"]), "qc": rng.choice(["pass", "warn"]),
            }
            for i in range(start, min(n, start + 1000))
        ]  # fmt: skip
        with writing(db) as connection:
            connection.execute(cases.insert(), rows)


def timed(what: str, ask: Callable[[], object], times: int = 20) -> None:
    wall, own = [], []
    for _ in range(times):
        began, cpu = time.perf_counter(), time.process_time()
        ask()
        wall.append(time.perf_counter() - began)
        own.append(time.process_time() - cpu)
    print(
        f"{what:40} {1000 * statistics.median(wall):8.1f} ms  {1000 * statistics.median(own):8.1f} ms of this process"
    )


def main() -> None:
    url, n = (sys.argv[1:] + ["", "100000"][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as folder:
        db = open_database(url or f"sqlite:///{folder}/cases.sqlite")
        upgrade(db)
        fill(db, int(n))
        for chosen in (
            Filter(), Filter(sort="score"), Filter(sort="patient"), Filter(state="failed"), Filter(call="rule_in"),
            Filter(call="rule_in", qc="warn", state="scored"), Filter(text="id-00"),
        ):  # fmt: skip
            told = " ".join(f"{k}={v}" for k, v in vars(chosen).items() if v != getattr(Filter(), k)) or "newest"
            timed(told, partial(worklist.listed, db, chosen, 50))
            page = worklist.listed(db, chosen, 500)
            for _ in range(20):
                page = worklist.listed(db, replace(chosen, after=page.after), 500)
                if page.after is None:
                    break
            timed(f"{told}, far down", partial(worklist.listed, db, replace(chosen, after=page.after), 50))
        timed("counts by state", lambda: worklist.counts(db))
        db.dispose()


if __name__ == "__main__":
    main()
