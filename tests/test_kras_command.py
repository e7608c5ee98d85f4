"""The entry point of the `kras` command, while what it runs is still being imported."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE, FUNCTION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["kras"].split(":")
AT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have set it to be ignored

class Interrupted:
    def find_spec(name, path=None, target=None):
        if name == {imported!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupted)
sys.argv = ["kras", "--version"]
"""
START = f"from {MODULE} import {FUNCTION}; {FUNCTION}()"


def kras(imported: str) -> subprocess.CompletedProcess[str]:
    """`kras --version`, interrupted when it imports a module."""
    code = AT.format(imported=imported) + START
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("imported", ["kras_plugins", "pydantic", "numpy", "kras_plugins.cli.view"])
def test_ctrl_c_during_an_import_ends_it_with_130_and_one_line(imported: str) -> None:
    done = kras(imported)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_without_ctrl_c_it_runs() -> None:
    done = kras("no_such_module")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kras ")
