"""`kras` on what looks like a person's machine: no sign of CI, an empty home. What it asks the network is noted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from cohorts import command

ROOT = Path(__file__).resolve().parents[1]

_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?"([^"]+)"')

_DNS = "53"


@cache
def can_watch() -> bool:
    """Whether `strace` is here and allowed to watch (some containers forbid it)."""
    strace = shutil.which("strace")
    return bool(strace) and subprocess.run([strace, "true"], capture_output=True, check=False).returncode == 0


class Machine:
    """A home, a store, a folder for temporary files and a working folder, all below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.work, self.log = folder, folder / "home", folder / "work", folder / "strace"
        for made in (self.home, self.work, folder / "tmp"):
            made.mkdir(parents=True)

    def run(self, *words: str | Path, ends: int = 0) -> None:
        """Run `kras`, which must end with this exit code."""
        self._finish(command(*words), ends)

    def python(self, code: str) -> None:
        """Run Python."""
        self._finish([sys.executable, "-c", code], 0)

    def _finish(self, words: list[str], ends: int) -> None:
        with self._started(words) as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == ends, err or out

    @contextmanager
    def serving(self, *words: str | Path) -> Iterator[str]:
        """Run a `kras` that serves until the block ends; gives the first line that it prints."""
        with self._started(command(*words)) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            try:
                yield line
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                process.communicate(timeout=60)

    def _started(self, words: list[str]) -> subprocess.Popen[str]:
        watch = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-A", "-o"]
        return subprocess.Popen(
            [*watch, str(self.log), *words] if can_watch() else words,
            cwd=self.work,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "TMPDIR": str(self.folder / "tmp"),
                "KRAS_CACHE": str(self.folder / "store"),
                "KRAS_TRITON_ENV": os.environ.get("KRAS_TRITON_ENV", f"{sys.prefix}-triton"),
                "OMP_NUM_THREADS": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def left(self) -> set[str]:
        """Files outside of store and output that are no cache of kras, or of a library that it draws with."""
        own = (".cache/kras/", ".cache/matplotlib/", ".cache/fontconfig/")
        found = {
            str(f.relative_to(p)) for p in (self.home, self.folder / "tmp") for f in p.rglob("*") if not f.is_dir()
        }
        return {f for f in found if not f.startswith(own)}

    def asked(self) -> set[str]:
        """HOST:PORT of what was asked beyond this machine, servers of names included wherever they are."""
        found = _ADDRESS.findall(self.log.read_text())
        return {f"{host}:{port}" for port, host in found if port == _DNS or not re.match(r"127\.|::1$", host)}
