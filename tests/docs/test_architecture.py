"""The page of the architecture shows the tree as it is: every package in its layer, and no file that is not there."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROWS = [re.findall(r"`(\w+)`", cell) for cell in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, re.M)]
ROW = {name: i for i, names in enumerate(ROWS) for name in names}
HOST = ROOT / "kras_plugins"


def test_every_package_and_module_of_the_host_has_its_row_once() -> None:
    found = {f.stem for f in HOST.iterdir() if (f.suffix == ".py" or (f / "__init__.py").exists()) and f.stem[0] != "_"}
    assert found - set(ROW) == set()
    assert len(ROW) == sum(map(len, ROWS))


def test_rows_stand_in_the_order_of_the_layers_that_lint_checks() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [[ROW[n] for n in re.findall(r"kras_plugins\.(\w+)", one)] for one in contracts["contracts"][0]["layers"]]
    assert [(above, below) for above, below in pairwise(layers) if max(above) > min(below)] == []


def test_every_file_that_is_named_exists() -> None:
    files = re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE)
    assert len(files) > 10
    assert [f for f in files if not (HOST / f).exists()] == []
    assert [f for f in re.findall(r"^\| .*`(\w+)/`.* \|.*\|$", PAGE, re.M) if not (ROOT / f).is_dir()] == []
