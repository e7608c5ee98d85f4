"""The server's environment is asked and made by an interpreter that takes no code from the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kras_plugins.errors import BackendError
from kras_plugins.serving import environment


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that modules in the current folder make, and in one of PYTHONPATH; the environment is this one."""
    for place in ("here", "elsewhere"):
        (tmp_path / place).mkdir()
        for name in ("pytriton", "openvino", "json", "pip", "sitecustomize"):
            trap = f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit(1)\n"
            (tmp_path / place / f"{name}.py").write_text(trap)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("KRAS_TRITON_ENV", str(tmp_path / "environment"))
    (tmp_path / "environment" / "bin").mkdir(parents=True)
    python = tmp_path / "environment" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path / "ran"


def test_finding_it_runs_nothing_of_the_current_folder(trapped: Path) -> None:
    with pytest.raises(BackendError):  # pytriton is not in this environment, or has no stub for it
        environment.find()
    assert not trapped.exists()


def test_making_it_runs_nothing_of_the_current_folder(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "requirements", lambda: ["pip"])  # there already
    with pytest.raises(BackendError):
        environment.install()
    assert not trapped.exists()
