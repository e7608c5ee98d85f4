"""What other systems lack is used nowhere unguarded: the same work without it gives the same bytes."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from cohorts import kras_process

from kras_plugins.testing import draw_slide

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [f for top in ("kras_plugins", "plugins") for f in sorted((ROOT / top).rglob("*.py"))]

# Read by every Python process that is started, workers too. Not taken away: what Python's own modules need on Linux,
# such as AF_UNIX for pipes in both directions.
LACKING = """
import os, signal
for module, names in {
    os: "fork forkpty getpgid setsid memfd_create posix_fallocate sched_getaffinity pread O_NOFOLLOW",
    signal: "SIGCONT SIGHUP SIGUSR1 SIGUSR2",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""


@pytest.fixture
def lacking(tmp_path: Path) -> str:
    """A value of PYTHONPATH with which processes lack what only POSIX has."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LACKING)
    return str(folder)


@pytest.mark.long
def test_a_slide_gives_the_same_features_where_posix_calls_are_lacking(tmp_path: Path, lacking: str) -> None:
    draw_slide(tmp_path / "one.tiff", seed=1)
    written = []
    for name, more in (("here", {}), ("lacking", {"PYTHONPATH": lacking})):
        words = ("profile", "one.tiff", "--out", name, "--workers", "2")
        done = kras_process(*words, cwd=tmp_path, store=tmp_path / f"store-{name}", **more)
        assert done.returncode == 0, done.stderr
        files = sorted(f for f in (tmp_path / name).rglob("*") if f.is_file() and f.name != "manifest.json")
        written.append({str(f.relative_to(tmp_path / name)): f.read_bytes() for f in files})
    assert len(written[0]) > 2
    assert written[0] == written[1]


def test_a_plugin_is_checked_in_processes_of_its_own_where_posix_calls_are_lacking(
    tmp_path: Path, lacking: str
) -> None:
    words = ("plugin", "check", "reader:tiff")
    done = kras_process(*words, cwd=tmp_path, store=tmp_path / "store", PYTHONPATH=lacking)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_text_is_written_with_the_same_bytes_on_every_system() -> None:
    """Windows turns the ends of lines into others unless a file says which it has."""
    loose = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            words = {k.arg for k in node.keywords}
            mode = next(
                (a.value for a in node.args if isinstance(a, ast.Constant) and a.value in ("w", "a", "x")), None
            )
            writes = node.func.attr == "write_text" or (node.func.attr == "open" and mode is not None)
            if writes and not {"encoding", "newline"} <= words:
                loose.append(f"{file}:{node.lineno}")
    assert loose == []


def test_a_service_says_that_it_does_not_run_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kras_plugins.cli.serve_start import need
    from kras_plugins.errors import ConfigError

    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigError, match="does not run on Windows"):
        need()
