"""The kit: a good plug-in passes every check, and for each check there is a plug-in that it catches."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from broken_plugins import BROKEN, CONFORMING, Broken

from kras_plugins import SlideRef
from kras_plugins.host.loose_files import import_file
from kras_plugins.testing.checks.candidate import Given, candidates
from kras_plugins.testing.checks.catalog import CHECKS, checks_of
from kras_plugins.testing.checks.run import Outcome, run_check
from kras_plugins.testing.checks.table import updated

ROOT = Path(__file__).resolve().parents[2]

COSTLY = {"cheap_import", "decoded_in_workers", "local_parity", "no_leaks"}
"""Checks that start a process or an engine: run for the good plug-ins, and for those that break them."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("features")
    np.save(folder / "s.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    sample = SlideRef(patient_id="p", slide_id="s")
    return Given(options={"extractor:files": {"folder": str(folder)}}, samples={"extractor:files": [sample]})


def checked(module: ModuleType, given: Given, without: set[str]) -> list[Outcome]:
    given = given if Path(str(module.__file__)).stem == "files" else Given()
    cases = [(s, c) for s in candidates(module, given) for c in checks_of(s) if c.name not in without]
    return [run_check(check, candidate) for candidate, check in cases]


def plugin(folder: Path, name: str, source: str) -> ModuleType:
    (folder / f"{name}.py").write_text(source)
    return import_file(folder / f"{name}.py")


def failures(outcomes: list[Outcome]) -> str:
    return "\n".join(o.message for o in outcomes if o.status == "failed")


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFORMING.glob("*.py")))
def test_a_good_plugin_passes_every_check(tmp_path: Path, given: Given, name: str) -> None:
    outcomes = checked(plugin(tmp_path, name, (CONFORMING / f"{name}.py").read_text()), given, set())
    assert failures(outcomes) == ""
    no_network = {"exported", "builds_alike", "local_parity", "engine_error_told", "wrong_tiles_refused"}
    may_skip = {"triton_parity", "catalog_described"} | (set() if name == "network" else no_network)
    assert {o.check for o in outcomes if o.status == "skipped"} <= may_skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: f"{b.good}-{b.check}")
def test_a_broken_plugin_fails_the_check_of_its_fault_and_no_other(
    tmp_path: Path, given: Given, broken: Broken
) -> None:
    module = plugin(tmp_path, broken.good, broken.source)
    outcomes = checked(module, given, COSTLY - {broken.check})
    failed = {o.check for o in outcomes if o.status == "failed"}
    assert broken.check in failed, failures(outcomes) or [o for o in outcomes if o.check == broken.check]
    assert failed <= {broken.check, *broken.also}, failures(outcomes)
    told = next(o for o in outcomes if o.check == broken.check)
    assert told.expected and told.came and told.says in told.message


def test_a_profiler_that_finds_nothing_in_some_tiles_passes_every_check(tmp_path: Path, given: Given) -> None:
    source = (CONFORMING / "spots.py").read_text().replace("area < 200", "area < 200 * (tile.pixels.mean() < 150)")
    outcomes = checked(plugin(tmp_path, "rare", source), given, COSTLY)
    assert failures(outcomes) == ""
    assert {o.check for o in outcomes if o.status == "passed"} >= {"decoded", "cells_in_tile", "cells_provided"}


def test_every_check_has_a_plugin_that_fails_it() -> None:
    """All but the one that needs a server: test_conformance_triton.py."""
    kinds = {"means": "classifier", "pages": "reader", "eager": "backend"}
    caught = {(b.check, kinds.get(b.good, "")) for b in BROKEN}
    own = {c.kinds[0] if len(c.kinds) == 1 else "" for c in CHECKS} & {"classifier", "reader", "backend"}
    wanted = {(c.name, c.kinds[0] if c.kinds[0] in own and len(c.kinds) == 1 else "") for c in CHECKS}
    assert wanted - caught == {("triton_parity", "")}


def test_every_check_quotes_words_that_stand_in_its_file() -> None:
    for check in CHECKS:
        text = " ".join((ROOT / "kras_plugins" / check.file).read_text().split())
        assert check.words in text, f"{check.name}: {check.says}"


def test_every_check_says_in_a_sentence_what_it_asks_for() -> None:
    for check in CHECKS:
        assert re.fullmatch(r"[A-Z`].{20,160}\.", check.what), check.name


def test_the_page_of_the_kit_shows_all_checks() -> None:
    page = (ROOT / "docs" / "how-to" / "conformance.md").read_text(encoding="utf-8")
    assert page == updated(page), "run: python -m kras_plugins.testing.checks.table docs/how-to/conformance.md"
    assert all(f"| `{check.name}` |" in page for check in CHECKS)
