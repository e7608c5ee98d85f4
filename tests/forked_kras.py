"""Many `kras` processes without the seconds of their imports: a server that has imported all forks one for each order.

Started as a script it is that server. Each `kras` leads a session and so a process group of its own, as a command does
that a shell started in the foreground. The server has a mount namespace of its own where the system allows it: with
`/dev/shm` for its children alone, so that what they leave there can be counted, and with small disks that can be full.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "KRAS_TEST_MARK"
"""The variable by which a process is known that left its session."""

_PACKAGES = (
    "kras_plugins.cli", "kras_plugins.study", "kras_plugins.processing", "kras_plugins.learning",
    "kras_plugins.evaluation", "kras_plugins.report", "kras_plugins.models",
)  # fmt: skip
_LIBRARIES = ("torch", "timm", "onnxruntime", "openvino", "matplotlib.figure", "sklearn.ensemble", "pyarrow.csv")


@dataclass(frozen=True)
class Forked:
    """One `kras`. `pid`: also of its session and group; `said`: the file of what it printed."""

    pid: int
    said: Path
    mark: str
    _server: Forks = field(repr=False)

    def ended(self, seconds: float) -> int | None:
        """Its exit code, negative for a signal; None where it is still at work after so long."""
        code: int | None = self._server.ask({"do": "wait", "pid": self.pid, "seconds": seconds})["code"]
        return code

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to it, or to its whole group as a terminal does; nothing where it is gone."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def family(self) -> list[int]:
        """All living processes of its session, and those that it started in another; itself first where it lives."""
        found = [pid for pid in _processes() if self._is_mine(pid)]
        return sorted(found, key=lambda pid: pid != self.pid)

    def workers(self) -> list[int]:
        """Its worker processes for slides."""
        return [pid for pid in self.family() if pid != self.pid and b"spawn_main" in _of(pid, "cmdline")]

    def orphans(self, seconds: float) -> list[int]:
        """What still lives so long after it ended."""
        end = time.monotonic() + seconds
        while (left := self.family()) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def _is_mine(self, pid: int) -> bool:
        words = _of(pid, "stat").rpartition(b")")[2].split()
        if not words or words[0] == b"Z":
            return False
        return int(words[3]) == self.pid or f"{MARK}={self.mark}".encode() in _of(pid, "environ").split(b"\0")


class Forks:
    """The server, as tests see it. `apart`: whether it has a mount namespace of its own."""

    def __init__(self, process: subprocess.Popen[str], apart: bool, said: Path) -> None:
        self._process, self.apart, self._said = process, apart, said
        self.ask({"do": "ready"})

    def start(self, words: Sequence[str | Path], cwd: Path, env: dict[str, str]) -> Forked:
        """Start `kras` with these words; `env`: its whole environment."""
        mark = uuid.uuid4().hex
        said = self._said / mark
        env = {**env, MARK: mark}
        order = {"do": "start", "words": [str(w) for w in words], "cwd": str(cwd), "env": env, "said": str(said)}
        return Forked(self.ask(order)["pid"], said, mark, self)

    def shared_memory(self) -> set[str]:
        """What lies in its `/dev/shm`; nothing where that is everybody's."""
        return {file.name for file in self.seen(Path("/dev/shm")).iterdir()} if self.apart else set()

    def seen(self, path: Path) -> Path:
        """How tests reach a path of its mount namespace."""
        return Path(f"/proc/{self._process.pid}/root{path}") if self.apart else path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command where the server is."""
        done = self.ask({"do": "run", "words": [str(w) for w in words]})
        return subprocess.CompletedProcess(words, done["code"], done["out"], done["err"])

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The server's answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the server of forks is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def forks() -> Iterator[Forks]:
    """A server of forks, which ends with the block."""
    enter = _namespace()
    process = subprocess.Popen(
        [*enter, sys.executable, __file__],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONSAFEPATH": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process, tempfile.TemporaryDirectory(prefix="kras-said-") as said:
        try:
            yield Forks(process, bool(enter), Path(said))
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()


def _namespace() -> list[str]:
    """The words that start a command in a mount namespace of its own; none where the system allows none."""
    enter = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else []), "sh", "-c"]
    mount = "mount -t tmpfs -o mode=1777 none /dev/shm"
    try:
        allowed = subprocess.run([*enter, mount], capture_output=True).returncode == 0
    except FileNotFoundError:
        return []
    return [*enter, f'{mount} && exec "$@"', "sh"] if allowed else []


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _of(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _import_all() -> None:
    import importlib
    import pkgutil

    for name in _LIBRARIES:
        importlib.import_module(name)
    for package in _PACKAGES:
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    from kras_plugins.host.manager import discover

    discover()


def _serve() -> dict[str, Any] | None:
    """Answer orders until there are no more; in a fork, what it is to do."""
    for line in sys.stdin:
        order, answer = json.loads(line), {}
        match order["do"]:
            case "start":
                sys.stdout.flush()
                ready, is_ready = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.close(ready)
                    return {**order, "ready": is_ready}
                os.close(is_ready)
                os.read(ready, 1)
                os.close(ready)
                answer = {"pid": pid}
            case "wait":
                answer = {"code": _waited(order["pid"], order["seconds"])}
            case "run":
                done = subprocess.run(order["words"], capture_output=True, text=True)
                answer = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        print(json.dumps(answer), flush=True)
    return None


_codes: dict[int, int] = {}
_PARENT = os.getppid()


def _waited(pid: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while pid not in _codes:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _codes[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > end:
            return None
        elif os.getppid() != _PARENT:  # tests were killed
            os.killpg(pid, signal.SIGKILL)
            sys.exit(1)
        else:
            time.sleep(0.01)
    return _codes[pid]


def _become(order: dict[str, Any]) -> None:
    """Be what a shell would have started."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in enumerate((nothing, said, said)):
        os.dup2(file, number)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.close(order["ready"])
    sys.argv = ["kras", *order["words"]]


if __name__ == "__main__":
    _import_all()
    if (_order := _serve()) is not None:
        _become(_order)
        from kras_plugins.cli.app import main

        main()
