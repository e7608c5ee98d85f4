"""A limited child process: it ends with its parent, however that ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import sys
from pathlib import Path
from kras_plugins.host.child import run_alone

run_alone("hanging", [sys.argv[1]], 600, Path(sys.argv[1]) / "errors")
"""
HANGING = """
import os, subprocess, sys, time
from pathlib import Path
from kras_plugins.host.child import end_with_parent

end_with_parent()
started = subprocess.Popen(["sleep", "600"])
(Path(sys.argv[1]) / "pids.part").write_text(f"{os.getpid()} {started.pid}")
(Path(sys.argv[1]) / "pids.part").rename(Path(sys.argv[1]) / "pids")
time.sleep(600)
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_hangs_in_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=env) as parent:
        end = time.monotonic() + 120
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < end and parent.poll() is None
            time.sleep(0.05)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(map(lives, pids))
        parent.kill()
    while any(map(lives, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)
