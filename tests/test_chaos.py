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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

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
    """A study of drawn slides, small as they can be: tissue, tiles, cells in a worker process, fits."""
    home, store = tmp_path_factory.mktemp("slides"), tmp_path_factory.mktemp("networks")
    draw_cohort(home, patients=12, positives=5, size_um=(320.0, 320.0), processes=1)
    lay_networks(store)
    words = ("run", "{home}/cohort.csv", "--extractor", "vit", "-o", "extractor.vit.model=vit-mini", "--workers", "1")
    words += ("--classifiers", "he,rf", "--folds", "2", "-o", "classifier.rf.trees=20")
    words += ("-o", "classifier.he.seeds=1", "-o", "classifier.he.epochs=2")
    study = Study(name="run on slides", words=words, home=home, store=store)
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
    options = ("--extractor", "vit", "-o", "extractor.vit.model=vit-mini")
    done = kras("model", "export", "vit", *options[2:], "--repository", "models", cwd=folder, store=folder / "exports")
    assert done.returncode == 0, done.stderr
    chosen = sorted((slides.home / "slides").iterdir())[:3]
    words = ("embed", *map(str, chosen), *options, "--workers", "1", "-o", "backend.triton.patience_s=5")
    with served(
        server, Study(name="embed on Triton", words=words, home=slides.home), folder / "models", folder
    ) as both:
        yield both


@pytest.mark.skipif(not KILLS, reason="takes many minutes: make chaos")
def test_nothing_is_lost_doubled_or_left_however_often_it_is_disturbed(
    server: Forks,
    tables: Study,
    slides: Study,
    scored: Study,
    dasked: Study,
    on_triton: tuple[Served, Study],
    tmp_path: Path,
) -> None:
    kept: dict[str, object] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(KEPT.read_text())
    rows: Rows = added({}, kept.get("rows", {}))  # type: ignore[arg-type]
    number = int(str(kept.get("rounds", 0)))
    if _times(rows) >= KILLS:
        rows, number = {}, 0
    BUILD.mkdir(exist_ok=True)
    kinds: list[Callable[[random.Random], Rows]] = [
        lambda rng: round_of_signals(server, slides, new(slides), WAYS | WORKER, 8, rng),
        lambda rng: round_of_signals(server, scored, new(scored), WAYS | WORKER, 4, rng),
        lambda rng: round_of_signals(server, tables, new(tables), WAYS, 6, rng),
        lambda rng: round_of_signals(server, dasked, new(dasked), WAYS | WORKER, 4, rng),
        lambda rng: round_on_triton(server, *on_triton, new(tables), 5, rng),
        lambda rng: round_of_two(server, rng.choice([slides, tables]), new(slides), rng),
        lambda rng: round_of_flips(server, rng.choice([slides, scored, tables]), new(slides), 4, rng),
    ]
    if server.apart:
        kinds.append(lambda rng: round_of_a_full_disk(server, rng.choice([slides, scored, tables]), disk, rng))
    else:
        print("no full disk: this system mounts none for a test", flush=True)
    disk = tmp_path / "disk"
    disk.mkdir()

    def new(study: Study) -> Place:
        shutil.rmtree(tmp_path / "place", ignore_errors=True)
        return Place.made(tmp_path / "place", store=study.store)

    while _times(rows) < KILLS:
        rows = added(rows, kinds[number % len(kinds)](random.Random(number)))
        number += 1
        KEPT.write_text(json.dumps({"rounds": number, "rows": rows}, indent=1))
        print(f"round {number}: {_times(rows)} of {KILLS}", flush=True)
    print(table(rows | others(BUILD)))
    assert not sum(row["lost"] + row["orphans"] + row["leftovers"] for row in rows.values())


def _times(rows: Rows) -> int:
    return sum(row["times"] for row in rows.values())
