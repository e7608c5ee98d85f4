"""How fast the worklist answers with many cases: `python benchmarks/service.py [CASES]`, on SQLite in a new folder.

Prints a page's time for each kind of query, as the median and the slowest of twenty, through the whole application.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from starlette.testclient import TestClient

from kras_plugins.service.api.app import create_app
from kras_plugins.service.api.reach import Reach
from kras_plugins.service.bundles import Bundles
from kras_plugins.service.database.engine import open_database, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import STATES
from kras_plugins.service.database.tables import cases as table
from kras_plugins.service.parts import Service
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.service.tokens import issue
from kras_plugins.study.session import opened

ASKED = (
    "", "?sort=oldest", "?sort=score", "?sort=patient", "?state=scored", "?state=queued&sort=oldest", "?call=rule_in",
    "?qc=warn", "?text=p-000777", "?text=nobody",
)  # fmt: skip
TIMES = 20


def fill(db: object, many: int) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    calls = ("rule_in", "indeterminate", "rule_out", "not_assessable")
    rows = []
    for i in range(many):
        state = STATES[i % len(STATES)]
        scored = state == "scored"
        rows.append(
            {
                "id": uuid.uuid4().hex, "key": str(i), "patient": f"p-{i:06d}", "grouping": "api", "bundle_digest": "d",
                "silent": False, "version": 1, "state": state, "created": began + timedelta(seconds=i),
                "updated": began,
                "score": (i % 997) / 997 if scored else None, "call": calls[i % 4] if scored else None,
                "qc": ("pass", "warn", "fail")[i % 3] if scored else None,
            }
        )  # fmt: skip
    with writing(db) as connection:  # type: ignore[arg-type]
        for start in range(0, many, 10_000):
            connection.execute(table.insert(), rows[start : start + 10_000])


def main(many: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = ServiceSettings(data=Path(folder))
        db = open_database(settings.database_url)
        upgrade(db)
        fill(db, many)
        secret = issue(db, "benchmark", ["read"], "benchmark")[1]
        with opened(settings.study) as session:
            service = Service(
                settings=settings, reach=Reach(per_minute=1_000_000), db=db, bundles=Bundles(folders={}, shown=()),
                session=session,
            )  # fmt: skip
            with create_app(service) as app:
                headers = {"Authorization": f"Bearer {secret}"}
                client = TestClient(app, base_url="http://127.0.0.1:8700", headers=headers)
                for query in ASKED:
                    for path in ("/", "/api/v1/cases"):
                        took = [timed(client, path + query) for _ in range(TIMES)]
                        print(f"{path + query:32} {statistics.median(took):7.1f} ms, at most {max(took):7.1f} ms")
        db.dispose()


def timed(client: TestClient, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
