"""`kras run` and `kras predict`, disturbed at random: resumed, they give the same bytes, and nothing is left behind.

Signals to the command, its group and its workers; two runs on one store; a disk that is full for a while; flipped bits
in the store; a Triton server that goes. `make chaos` disturbs 200 times, with drawn slides and worker processes, and
prints the table of docs/reliability.md. It is kept in `build/chaos.json`: killed, the campaign goes on where it was.
Each round is drawn from its number, so that one that failed comes again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cohorts import draw_tables, kras
from disturbed import (
    WAYS,
    WORKER,
    Place,
    Rows,
    Study,
    added,
    differing,
    flip,
    fresh,
    learned,
    others,
    outputs,
    round_of_a_full_disk,
    round_of_flips,
    round_of_signals,
    round_of_two,
    table,
)  # fmt: skip
from disturbed_triton import Served, round_on_triton, served
from forked_kras import Forks, forks
from networks import lay_networks
from triton_server import ensure_installed

from kras_plugins.testing import draw_cohort

KILLS = int(os.environ.get("KRAS_CHAOS", "0"))
BUILD = Path(__file__).resolve().parents[1] / "build"
KEPT = BUILD / "chaos.json"
VIT = ("--extractor", "vit", "-o", "extractor.vit.model=vit-mini", "--workers", "1")
FOREST = ("--classifiers", "rf", "--folds", "2", "-o", "classifier.rf.trees=20", "--workers", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[Forks]:
    with forks() as found:
        yield found


@pytest.fixture(scope="module")
def tables(server: Forks, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of finished features: fits, evaluation, report and bundle in seconds."""
    home = tmp_path_factory.mktemp("tables")
    draw_tables(home)
    words = ("run", "{home}/cohort.csv", *FOREST)
    words += tuple(w for name in ("LUAD", "LUSC") for w in ("--profile-table", f"{{home}}/{name}.csv"))
    return learned(server, Study(name="run on tables", words=words, home=home), tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def slides(server: Forks, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of drawn slides, as small and as few as they can be: tissue, tiles, networks, fits."""
    home, store = tmp_path_factory.mktemp("slides"), tmp_path_factory.mktemp("networks")
    draw_cohort(home, patients=12, positives=5, size_um=(320.0, 320.0), processes=1)
    lay_networks(store, "vit")
    words = ("run", "{home}/cohort.csv", *VIT, "--classifiers", "he", "--folds", "2")
    words += ("-o", "classifier.he.seeds=1", "-o", "classifier.he.epochs=2")
    study = Study(name="run on slides", words=words, home=home, store=store)
    return learned(server, study, tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def profiled(server: Forks, slides: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Cells of two slides, decoded in a worker process."""
    store = tmp_path_factory.mktemp("networks")
    lay_networks(store, "cells")
    words = ("profile", *map(str, sorted((slides.home / "slides").iterdir())[:2]), "--workers", "1")
    study = Study(name="profile", words=words, home=slides.home, store=store)
    return learned(server, study, tmp_path_factory.mktemp("learned"))


@pytest.fixture(scope="module")
def scored(server: Forks, slides: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two new slides, scored with the bundle of that study: rows, pages, maps."""
    place = Place.made(tmp_path_factory.mktemp("trained") / "place", store=slides.store)
    assert place.start(server, slides).ended(600) == 0
    chosen = sorted((slides.home / "slides").iterdir())[:2]
    words = ("predict", str(place.folder / "out" / "bundle"), *map(str, chosen), "--workers", "1")
    study = Study(name="predict", words=words, home=slides.home, store=slides.store)
    return learned(server, study, tmp_path_factory.mktemp("learned"))


def test_a_command_that_is_disturbed_again_and_again_gives_the_same_bytes_in_the_end(
    server: Forks, tables: Study, tmp_path: Path
) -> None:
    must = {"predictions.csv", "metrics.json", "report.html"}
    assert {name for name, digest in tables.wanted.items() if digest is not None} >= must - {"report.html"}
    rng = random.Random(1)
    rows = round_of_signals(server, tables, Place.made(tmp_path / "signals"), WAYS, 4, rng)
    rows = added(rows, round_of_two(server, tables, Place.made(tmp_path / "two"), rng))
    for row in rows.values():
        assert row["equal"] == row["times"] and not row["lost"] + row["orphans"] + row["leftovers"]


def test_a_study_of_slides_that_is_killed_again_and_again_gives_the_same_bytes_in_the_end(
    server: Forks, slides: Study, tmp_path: Path
) -> None:
    place = Place.made(tmp_path / "place", store=slides.store)
    early = random.Random(2524)  # kills it at 0.1, 0.4 and 0.7 of its time, if it takes as long as before
    rows = round_of_signals(server, slides, place, {"SIGKILL": WAYS["SIGKILL"]}, 3, early)
    assert rows
    for row in rows.values():
        assert row["equal"] == row["times"] and not row["lost"] + row["orphans"] + row["leftovers"]


def test_a_flipped_bit_in_the_store_never_changes_a_result(server: Forks, tables: Study, tmp_path: Path) -> None:
    rows = round_of_flips(server, tables, Place.made(tmp_path / "flips"), 2, random.Random(2))
    (row,) = rows.values()
    assert row["times"] == 2 and row["lost"] == 0


def test_a_disk_that_was_full_for_a_while_costs_nothing(server: Forks, tables: Study, tmp_path: Path) -> None:
    if not server.apart:
        pytest.skip("this system mounts no disk for a test")
    (tmp_path / "disk").mkdir()
    (row,) = round_of_a_full_disk(server, tables, tmp_path / "disk", random.Random(3)).values()
    assert row["equal"] == 1


def test_what_differs_and_what_is_left_is_seen(tables: Study, tmp_path: Path) -> None:
    place = Place.made(tmp_path / "place")
    out = place.seen / "out"
    out.mkdir()
    (out / "predictions.csv").write_text("other\n")
    (out / ".metrics.json.0123abcd.part").write_text("{")
    wrong = differing(tables, out)
    assert {"no metrics.json", "predictions.csv", "more: .metrics.json.0123abcd.part"} <= set(wrong)
    (place.seen / "tmp" / "half").touch()
    assert place.left() == ["out/.metrics.json.0123abcd.part", "tmp/half"]
    before = outputs(out)
    flip(out, random.Random(0))
    assert sum(before[name] != digest for name, digest in outputs(out).items()) == 1


def test_counts_are_added_and_shown() -> None:
    rows = added({"a: SIGKILL": fresh(times=2, equal=2)}, {"a: SIGKILL": {"times": 1}, "b: SIGINT": {"times": 3}})
    shown = ["| a: SIGKILL | 3 | 2 | 0 | 0 | 0 | 0 |", "| b: SIGINT | 3 | – | – | – | – | – |"]
    assert table(rows).splitlines()[2:] == shown


@pytest.fixture(scope="module")
def dasked(server: Forks, slides: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study of slides, whose slides and fits a Dask worker of its own does."""
    engine = ("--engine", "dask", "-o", "engine.dask.cluster=local", "-o", "engine.dask.jobs=1")
    study = replace(slides, name="run with --engine dask", words=(*slides.words, *engine))
    found = learned(server, study, tmp_path_factory.mktemp("learned"))
    for name in ("predictions.csv", "metrics.json"):
        assert found.wanted[name] == slides.wanted[name]
    return found


@pytest.fixture(scope="module")
def on_triton(server: Forks, slides: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Study]]:
    """Features of three of the slides, by a real Triton server."""
    folder = tmp_path_factory.mktemp("triton")
    ensure_installed()
    done = kras("model", "export", "vit", *VIT[2:4], "--repository", "models", cwd=folder, store=folder / "exports")
    assert done.returncode == 0, done.stderr
    chosen = sorted((slides.home / "slides").iterdir())[:3]
    words = ("embed", *map(str, chosen), *VIT, "-o", "backend.triton.patience_s=5")
    study = Study(name="embed on Triton", words=words, home=slides.home)
    with served(server, study, folder / "models", folder) as both:
        yield both


SHARES = {
    "tables": 15, "run": 20, "predict": 15, "profile": 15, "dask": 10, "triton": 10, "two": 5, "flips": 5, "full": 5,
}  # fmt: skip
"""Of a hundred disturbances, so many are of each kind."""


@pytest.mark.skipif(not KILLS, reason="takes many minutes: make chaos")
@pytest.mark.parametrize("kind", SHARES)
def test_nothing_is_lost_doubled_or_left_however_often_it_is_disturbed(
    kind: str, server: Forks, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "full" and not server.apart:
        pytest.skip("this system mounts no disk for a test")
    kept: dict[str, dict[str, Any]] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(KEPT.read_text())
    mine = kept.setdefault(kind, {"rounds": 0, "rows": {}})
    if _times(mine["rows"]) >= (wanted := -(-KILLS * SHARES[kind] // 100)):
        mine |= {"rounds": 0, "rows": {}}
    one = rounds_of(kind, server, request.getfixturevalue, tmp_path)
    BUILD.mkdir(exist_ok=True)
    while _times(mine["rows"]) < wanted:
        mine["rows"] = added(mine["rows"], one(random.Random(f"{kind} {mine['rounds']}")))
        mine["rounds"] += 1
        KEPT.write_text(json.dumps(kept, indent=1))
        print(f"{kind}, round {mine['rounds']}: {_times(mine['rows'])} of {wanted}", flush=True)
    assert not sum(row["lost"] + row["orphans"] + row["leftovers"] for row in mine["rows"].values())
    if kind == list(SHARES)[-1]:
        rows = {name: row for each in kept.values() for name, row in each["rows"].items()}
        print(table(rows | others(BUILD)))


def rounds_of(kind: str, server: Forks, fixture: Callable[[str], Any], folder: Path) -> Callable[[random.Random], Rows]:
    """What one round of a kind does, as it is drawn."""

    def new(study: Study) -> Place:
        shutil.rmtree(folder / "place", ignore_errors=True)
        return Place.made(folder / "place", store=study.store)

    def some(rng: random.Random) -> Study:
        found: Study = fixture(rng.choice(["slides", "profiled", "scored", "tables"]))
        return found

    def one(rng: random.Random) -> Rows:
        match kind:
            case "run" | "predict" | "tables":
                study = fixture({"run": "slides", "predict": "scored", "tables": "tables"}[kind])
                return round_of_signals(server, study, new(study), WAYS, 6, rng)
            case "profile" | "dask":
                study = fixture({"profile": "profiled", "dask": "dasked"}[kind])
                return round_of_signals(server, study, new(study), WAYS | WORKER, 6, rng)
            case "triton":
                return round_on_triton(server, *fixture("on_triton"), new(fixture("tables")), 5, rng)
            case "two":
                study = fixture(rng.choice(["slides", "tables"]))
                return round_of_two(server, study, new(study), rng)
            case "flips":
                return round_of_flips(server, study := some(rng), new(study), 5, rng)
            case _:
                (folder / "disk").mkdir(exist_ok=True)
                return round_of_a_full_disk(server, some(rng), folder / "disk", rng)

    return one


def _times(rows: Mapping[str, Mapping[str, int]]) -> int:
    return sum(row["times"] for row in rows.values())
