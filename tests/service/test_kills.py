"""Workers killed or paused past their lease at random: no case is lost, none has two results, the audit is whole.

`make chaos` does it a hundred times on each kind of database. What ended well is counted in
`build/service-chaos-KIND.json`; an interrupted campaign resumes from there.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import served
from cohorts import draw_tables
from service_kills import round_of_kills

KILLS = int(os.environ.get("KRAS_CHAOS", "0"))
BUILD = Path(__file__).resolve().parents[2] / "build"
CASES, IN_ROUND = 20, 10
"""Cases of a round of the campaign, and how often a worker is disturbed in it."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    draw_tables(folder, patients=60)
    return folder


@pytest.fixture(scope="module")
def bundle(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served.small_bundle(tables, tmp_path_factory.mktemp("study"))


def test_two_disturbed_workers_score_all_cases_once(
    tmp_path: Path, new_database: str, tables: Path, bundle: Path
) -> None:
    done = round_of_kills(tmp_path, new_database, tables, bundle, range(4), 2, random.Random(1))
    assert done["cases"] == 4 and sum(done[how] for how in ("killed", "paused", "scorer", "asked")) <= 2


@pytest.mark.skipif(not KILLS, reason="takes an hour: make chaos")
def test_nothing_is_lost_or_doubled_however_many_are_killed(
    tmp_path: Path, new_database: str, tables: Path, bundle: Path
) -> None:
    kind = new_database.partition(":")[0].partition("+")[0]
    file = BUILD / f"service-chaos-{kind}.json"
    count: Counter[str] = Counter()
    with suppress(OSError, ValueError):
        count = Counter(json.loads(file.read_text()))
    if disturbed(count) >= KILLS:
        count.clear()
    BUILD.mkdir(exist_ok=True)
    while disturbed(count) < KILLS:
        many = min(IN_ROUND, KILLS - disturbed(count))
        first = count["rounds"] * CASES % 60
        patients = range(first, first + CASES)
        where = tmp_path / str(count["rounds"])
        url = f"sqlite:///{where / 'cases.sqlite'}" if kind == "sqlite" else new_database
        count += round_of_kills(where, url, tables, bundle, patients, many, random.Random(count["rounds"]))
        count["rounds"] += 1
        file.write_text(json.dumps(count))
    print(f"{kind}: {dict(count)}: 0 lost, 0 doubled, the audit whole")


def disturbed(count: Counter[str]) -> int:
    """How often a worker was killed, paused or stopped."""
    return sum(count[how] for how in ("killed", "paused", "scorer", "asked"))
