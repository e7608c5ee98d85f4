"""What keeps the house: workflows, hooks and templates are well-formed and name commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
KEPT = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"]
PROSE = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.*")]


@pytest.mark.parametrize("file", KEPT, ids=lambda f: f.name)
def test_it_is_yaml(file: Path) -> None:
    assert yaml.safe_load(file.read_text(encoding="utf-8"))


def test_every_make_target_that_is_named_exists() -> None:
    named = {
        (file.name, target)
        for file in PROSE
        for target in re.findall(r"(?:`|run: |^)make ([a-z-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {target for _, target in named} >= {"demo", "test", "docs", "dist"}
    assert {(file, target) for file, target in named if target not in TARGETS} == set()


def test_the_hooks_are_the_commands_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    linted = {line.split()[0].replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()[1:]}
    assert {hook["entry"].split()[0] for hook in hooks} == linted


def test_contributing_is_one_page() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text().splitlines()
    assert len(lines) <= 66
    assert max(map(len, lines)) <= 130


def test_the_sdist_holds_what_a_packager_needs_and_builds_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as f:
        names = {name.split("/", 1)[1] for name in f.getnames()}
    assert {"LICENSE", "README.md", "Makefile", "tests/test_house.py", "docs/features.md"} <= names
    assert {n for n in names if n.startswith((".venv", "build/", "kras-demo/", "shared/"))} == set()
    assert archive.stat().st_size < 20_000_000
