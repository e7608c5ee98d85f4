"""`kras plugin new` writes a distribution that installs and passes its own tests at once, of each kind."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest
from clean_environment import ROOT, Clean, install
from cohorts import kras
from doc_blocks import blocks

from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.hookspecs import KINDS
from kras_plugins.scaffold import Project, named, write_project

TUTORIAL = ROOT / "docs" / "tutorial" / "write-an-encoder.md"
GIVEN = {"extractor": ("-o", "extractor.new_extractor.weights=random:0")}
"""What a check needs: the scaffold's extractor has no weights yet."""


@dataclass(frozen=True)
class Written:
    """One new project of each kind, in folders of their own, installed."""

    projects: dict[str, Path]
    clean: Clean


ONE_IS_ENOUGH = [pytest.param(kind, marks=() if kind == "extractor" else pytest.mark.long) for kind in KINDS]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("scaffold")
    projects = {}
    for kind in KINDS:
        project = named(kind, f"new-{kind}")
        projects[kind] = folder / project.distribution
        write_project(project, projects[kind])
    (projects["extractor"] / "kras_extractor_new_extractor.safetensors").write_bytes(b"weights")
    return Written(projects, install(folder, list(projects.values())))


def test_all_five_are_listed_with_their_distribution_and_host_and_plugins_come_from_wheels(written: Written) -> None:
    cwd = written.clean.folder
    done = written.clean.kras("plugin", "list", "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert listed["broken"] == []
    ours = {(p["kind"], p["name"]): p["distribution"] for p in listed["plugins"] if p["distribution"] != "kras"}
    assert ours == {(kind, f"new_{kind}"): f"kras-{kind}-new-{kind}" for kind in KINDS}
    names = ["kras_plugins", "kras_classifier_rf", *(f"kras_{kind}_new_{kind}" for kind in KINDS)]
    code = f"import importlib; [print(importlib.import_module(name).__file__) for name in {names}]"
    places = written.clean.run("-c", code, cwd=cwd).stdout.splitlines()
    assert len(places) == len(names)
    assert all(place.startswith(str(cwd)) for place in places)


@pytest.mark.parametrize("kind", ONE_IS_ENOUGH)
def test_its_own_tests_pass(written: Written, kind: str) -> None:
    done = written.clean.own_tests(written.projects[kind])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "failed" not in done.stdout


@pytest.mark.parametrize("kind", ONE_IS_ENOUGH)
def test_kras_plugin_check_finds_nothing(written: Written, kind: str) -> None:
    done = written.clean.kras(
        "plugin", "check", f"{kind}:new_{kind}", *GIVEN.get(kind, ()), "--json", cwd=written.clean.folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["failed"] == 0
    assert told["passed"] > 5


def test_weights_beside_the_module_come_into_the_wheel(written: Written) -> None:
    (wheel,) = (written.clean.folder.parent / "wheels").glob("kras_extractor_*.whl")
    with ZipFile(wheel) as z:
        files = {name for name in z.namelist() if ".dist-info/" not in name}
    assert files == {"kras_extractor_new_extractor.py", "kras_extractor_new_extractor.safetensors"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_short_names_itself_once_and_is_clean(kind: str, tmp_path: Path) -> None:
    project = named(kind, "a-b2")
    files = write_project(project, tmp_path)
    facts = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert facts["project"]["name"] == f"kras-{kind}-a-b2"
    assert facts["project"]["entry-points"]["kras"] == {f"kras_{kind}_a_b2": f"kras_{kind}_a_b2"}
    modules = sorted(str(f.relative_to(tmp_path)) for f in files if f.suffix == ".py")
    assert modules == [f"kras_{kind}_a_b2.py", "tests/test_a_b2.py"]
    assert len((tmp_path / modules[0]).read_text().splitlines()) < 80
    assert not any("{{" in f.read_text() and "matrix" not in f.read_text() for f in files)
    rules = ("--select", "E,F,W,I,UP,B,SIM,C4,PT,RUF,PERF,BLE", "--ignore", "RUF001,RUF002")
    for words in (("check", *rules), ("format", "--check")):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_prints_what_the_tutorial_shows_and_what_to_type_next(tmp_path: Path) -> None:
    (shown,) = (b.text for b in blocks(TUTORIAL) if b.language == "text")
    done = kras("plugin", "new", "extractor", "my-convnext", cwd=tmp_path, store=tmp_path / "store")
    assert (done.returncode, done.stdout) == (0, shown)
    assert shown.splitlines()[-3].strip() == "pip install -e './kras-extractor-my-convnext[test]'"
    again = kras("plugin", "new", "extractor", "my-convnext", cwd=tmp_path, store=tmp_path / "store")
    assert again.returncode == 1
    assert "already exists" in again.stderr
    clash = kras("plugin", "new", "extractor", "vit", "--out", "x", cwd=tmp_path, store=tmp_path / "store")
    assert clash.returncode == 1
    assert "extractor 'vit' exists already, from kras" in clash.stderr
    assert not (tmp_path / "x").exists()


def test_an_own_timm_model_takes_fewer_than_thirty_changed_lines() -> None:
    """The diff of the tutorial, which its own test applies to what the command writes."""
    (diff,) = (b.text for b in blocks(TUTORIAL) if b.language == "diff")
    added = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert 0 < len(added) < 30


def test_a_name_with_the_prefix_or_underscores_is_the_same_name() -> None:
    plain = named("reader", "my-format")
    assert plain == named("reader", "kras-reader-my-format") == named("reader", "my_format")
    assert (plain.distribution, plain.module, plain.name) == (
        "kras-reader-my-format", "kras_reader_my_format", "my_format",
    )  # fmt: skip


@pytest.mark.parametrize("given", ["", "My-Encoder", "2fast", "a--b", "-a", "a-", "enc.oder", "class", "a b", "ä"])
def test_a_name_that_cannot_be_is_refused(given: str) -> None:
    with pytest.raises(ConfigError):
        Project(kind="extractor", given=given)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ConfigError, match="already exists"):
        write_project(named("reader", "x"), tmp_path)
    with pytest.raises(ConfigError, match="already exists"):
        write_project(named("reader", "x"), tmp_path / "kept.txt")
    assert [f.name for f in tmp_path.iterdir()] == ["kept.txt"]
    with pytest.raises(StoreError, match="too long"):
        write_project(named("reader", "x"), tmp_path / ("x" * 300))


def test_the_version_of_kras_that_wrote_it_is_what_it_asks_for(tmp_path: Path) -> None:
    write_project(named("backend", "x"), tmp_path)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"kras>={version}" in tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["dependencies"]
