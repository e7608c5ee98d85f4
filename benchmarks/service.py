"""What a service takes: `python benchmarks/service.py [pages] [queue] [overhead]`, all three unless named.

    pages     a page of the worklist and of the API's list with 100,000 cases, on SQLite and on PostgreSQL
    queue     seconds to queue a case, and memory of the serving process, with 100 and with 10,000 cases waiting
    overhead  a case scored by a service's worker compared with `study.score` on the same slides, each twice into an
              empty store, in turn; the first case of each is a warm-up and does not count

Pages go through the whole application; each is given as the median and the slowest of twenty. `overhead` first trains
the bundle of `kras serve --demo`, which takes minutes; it is kept.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy import Engine
from starlette.testclient import TestClient

from kras_plugins import study
from kras_plugins.files.spreadsheet import csv_text
from kras_plugins.service.api.app import create_app
from kras_plugins.service.api.reach import Reach
from kras_plugins.service.bundles import Bundles, open_bundles
from kras_plugins.service.cases import NewCase, NewSlide, submit
from kras_plugins.service.database.engine import open_database, writing
from kras_plugins.service.database.migrate import upgrade
from kras_plugins.service.database.tables import STATES
from kras_plugins.service.database.tables import cases as table
from kras_plugins.service.demo import prepared
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.leases import claim, release
from kras_plugins.service.parts import Service
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.service.tokens import issue
from kras_plugins.service.worker import Worker
from kras_plugins.study.session import opened
from kras_plugins.testing.cohort import draw_cohort

CASES, TIMES = 100_000, 20
ASKED = (
    "", "?sort=oldest", "?sort=score", "?sort=patient", "?state=scored", "?state=queued&sort=oldest", "?call=rule_in",
    "?call=rule_in&qc=warn&state=scored", "?qc=warn", "?text=p-000777", "?text=nobody",
)  # fmt: skip
FAR = 20
"""Pages of 500 cases turned to get far down the list."""
PATIENTS, SIDE_UM = 7, 2048.0
"""Cases of a turn of `overhead`, the first of which warms up, and the side of their slides."""


def pages() -> None:
    """Print what pages take on both kinds of database."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ServiceSettings(data=Path(folder))
        print(f"pages of {CASES:,} cases on SQLite")
        _pages(settings)
    with postgres() as url, tempfile.TemporaryDirectory() as folder:
        print(f"pages of {CASES:,} cases on PostgreSQL")
        _pages(ServiceSettings(data=Path(folder), database=url))


def _pages(settings: ServiceSettings) -> None:
    with served(settings) as (db, client):
        fill(db, CASES)
        for query in ASKED:
            for path in ("/", "/api/v1/cases"):
                report(path + query, lambda asked=path + query: ask(client, asked))
        after: str | None = None
        for _ in range(FAR):
            page = {"limit": "500"} if after is None else {"limit": "500", "after": after}
            after = client.get("/api/v1/cases", params=page).json()["after"]
        far = "/api/v1/cases?" + urlencode({"after": after})
        report(f"/api/v1/cases after {FAR * 500:,} others", lambda: ask(client, far))


def report(what: str, do: Callable[[], object]) -> None:
    """Print the median and the slowest of twenty, in ms."""
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        do()
        took.append(1000 * (time.perf_counter() - began))
    print(f"{what:52} {statistics.median(took):7.1f} ms, at most {max(took):7.1f} ms", flush=True)


def ask(client: TestClient, path: str) -> None:
    """Get a page that must exist."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text


def fill(db: Engine, many: int) -> None:
    """Add `many` cases in all states."""
    rng, began = random.Random(0), datetime(2026, 1, 1, tzinfo=UTC)
    rows = []
    for i in range(many):
        state = STATES[i % len(STATES)]
        ended = state == "scored"
        rows.append(
            {
                "id": uuid.UUID(int=rng.getrandbits(128)).hex, "key": str(i), "patient": f"p-{i:06d}",
                "grouping": "api", "bundle_digest": "d", "silent": False, "version": 1, "state": state,
                "created": began + timedelta(seconds=i), "updated": began,
                "score": rng.random() if ended else None,
                "call": rng.choice(("rule_in", "indeterminate", "rule_out")) if ended else None,
                "qc": rng.choice(("pass", "warn", "fail")) if ended else None,
            }
        )  # fmt: skip
    with writing(db) as connection:
        for start in range(0, many, 10_000):
            connection.execute(table.insert(), rows[start : start + 10_000])


def queue() -> None:
    """Print what waiting cases cost: seconds to queue one and to take one, and memory of the process."""
    with tempfile.TemporaryDirectory() as folder, served(ServiceSettings(data=Path(folder))) as (db, client):
        queued = 0
        for many in (100, 10_000):
            began = time.perf_counter()
            for i in range(queued, many):
                submit(db, waiting(i), "benchmark")
            each = 1000 * (time.perf_counter() - began) / (many - queued)
            queued = many
            ask(client, "/")
            ask(client, "/api/v1/cases?limit=500")
            took = []
            for _ in range(TIMES):
                began = time.perf_counter()
                held = claim(db, "benchmark", 60.0, ("d",))
                assert held is not None and release(db, held)
                took.append(1000 * (time.perf_counter() - began))
            print(
                f"{many:6,} queued: {each:.1f} ms to queue one, {statistics.median(took):.1f} ms to take one and give "
                f"it back, {resident_mb():.0f} MB of memory"
            )


def waiting(i: int) -> NewCase:
    """A case of one slide."""
    slide = NewSlide(slide_id=f"s-{i}", name=f"s-{i}", place=f"/slides/s-{i}.svs", fingerprint=f"f-{i}", bytes=10**9)
    return NewCase(patient=f"p-{i:06d}", patient_id=f"p-{i:06d}", slides=(slide,), bundle_digest="d")


def resident_mb() -> float:
    """Memory of this process now."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def overhead() -> None:
    """Print seconds per case by a worker and by `study.score`."""
    demo = prepared()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        size = (SIDE_UM, SIDE_UM)
        cohort = draw_cohort(folder / "slides", patients=PATIENTS, signal=0.45, seed=2, name="B", size_um=size)
        slides = sorted(cohort.parent.rglob("*.tiff"))
        for turn in range(2):
            first, second = (by_worker, by_score) if turn % 2 else (by_score, by_worker)
            for do in (first, second):
                place = folder / f"{do.__name__}-{turn}"
                settings = demo.served(ServiceSettings(data=place, roots=(folder / "slides",)))
                settings = replace(settings, study=settings.study.having(cache=place / "store"))
                print(f"{do.__name__}, turn {turn + 1}: {do(settings, slides):.2f} s a case", flush=True)
                shutil.rmtree(place)


def by_worker(settings: ServiceSettings, slides: list[Path]) -> float:
    """Seconds per case, from the database's times: between the end of the first case and that of the last."""
    settings.data.mkdir()
    db = open_database(settings.database_url)
    upgrade(db)
    bundles = open_bundles(settings)
    arrivals = Arrivals(db, settings, bundles)
    for slide in slides:
        arrivals.take([slide], "benchmark")
    ended: list[float] = []
    Worker(db, settings, bundles, lambda *_: ended.append(time.perf_counter())).run(until_empty=True)
    db.dispose()
    assert len(ended) == len(slides)
    return (ended[-1] - ended[0]) / (len(slides) - 1)


def by_score(settings: ServiceSettings, slides: list[Path]) -> float:
    """Seconds per case of `study.score`, with one call per case in this process."""
    settings.data.mkdir()
    took = []
    for i, slide in enumerate(slides):
        table = settings.data / "cohort.csv"
        table.write_text(csv_text([{"patient_id": slide.stem, "slide_id": slide.stem, "path": str(slide)}]))
        began = time.perf_counter()
        study.score(settings.bundles[0], table, settings.study, out=settings.data / f"out-{i}")
        took.append(time.perf_counter() - began)
    return statistics.mean(took[1:])


@contextmanager
def served(settings: ServiceSettings) -> Iterator[tuple[Engine, TestClient]]:
    """An application over an empty database, and a program that may read."""
    db = open_database(settings.database_url)
    upgrade(db)
    secret = issue(db, "benchmark", ["read"], "benchmark")[1]
    with opened(settings.study) as session:
        reach = Reach(per_minute=1_000_000)
        service = Service(
            settings=settings, reach=reach, db=db, bundles=Bundles(folders={}, shown=()), session=session
        )  # fmt: skip
        with create_app(service) as app:
            headers = {"Authorization": f"Bearer {secret}"}
            yield db, TestClient(app, base_url=f"http://127.0.0.1:{reach.port}", headers=headers)
    db.dispose()


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server, whose binaries are those of a wheel."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from postgres_server import postgres_server

    with postgres_server() as address:
        yield address


if __name__ == "__main__":
    for name in sys.argv[1:] or ("pages", "queue", "overhead"):
        {"pages": pages, "queue": queue, "overhead": overhead}[name]()
