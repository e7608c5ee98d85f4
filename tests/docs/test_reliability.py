"""Each promise of the page on reliability names the tests that hold it, and these exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]


def functions_of(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 50
    lost = [f"{file}::{name}" for file, name in NAMED if not (ROOT / "tests" / file).is_file()]
    lost += [f"{file}::{name}" for file, name in NAMED if not lost and name not in functions_of(ROOT / "tests" / file)]
    assert lost == []


def test_every_promise_names_a_test() -> None:
    sections = PAGE.split("## Not promised")[0]
    assert [line for line in PROMISES if line in sections and "::test_" not in line] == []
