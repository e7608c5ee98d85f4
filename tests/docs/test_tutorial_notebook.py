"""The notebook of the tutorial runs as it stands, and its stored outputs are what it gives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs/tutorial/notebook.ipynb"
MOST_BYTES = 400_000
LEFT_OUT = "application/vnd.jupyter.widget-view+json"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def read(file: Path) -> Any:
    import nbformat  # takes seconds

    return nbformat.read(file, as_version=4)


def outputs(notebook: Any) -> list[list[dict[str, str]]]:
    """Of each cell of code, its outputs by kind: texts with a `#` for each number, of pictures that there is one."""

    def shown(output: Any) -> dict[str, str]:
        kinds = {"text/plain": output.text} if output.output_type == "stream" else output.data
        return {kind: _NUMBER.sub("#", text) if kind.startswith("text/") else "" for kind, text in kinds.items()}

    return [[shown(output) for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook, executed by the script that made its outputs."""
    out = tmp_path_factory.mktemp("notebook") / "again.ipynb"
    command = [sys.executable, ROOT / "docs/tutorial/execute.py", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return read(out)


@pytest.mark.long
def test_every_cell_runs_and_gives_what_is_stored(again: Any) -> None:
    """But for digits, which another processor may round otherwise."""
    assert outputs(again) == outputs(read(NOTEBOOK)), "run `make notebook`, and look at what it shows"


@pytest.mark.long
def test_it_shows_what_it_is_about(again: Any) -> None:
    text = str(outputs(again))
    for word in ("histology_only", "ensemble", "n=#", "new_slide", "til_ta"):
        assert word in text, word
    assert sum("image/png" in output for cell in outputs(again) for output in cell) == 2, "a curve and a heat map"


def test_every_cell_was_run_once_in_its_order() -> None:
    code = [cell for cell in read(NOTEBOOK).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(code) >= 8


def test_it_is_small_and_names_nothing_of_the_machine_that_ran_it() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    words = "".join(str(cell.source) for cell in read(NOTEBOOK).cells) + str(outputs(read(NOTEBOOK)))
    assert re.findall(r"(?:/(?:home|root|tmp|work|Users|var|opt)\b|[A-Z]:\\)\S*", words) == []
    assert LEFT_OUT not in text and '"stderr"' not in text
