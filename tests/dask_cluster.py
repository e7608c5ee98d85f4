"""A Dask scheduler and workers, each a process of its own, that tests may kill: on loopback, or on hosts of theirs."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hosts import LOOPBACK, Host

TESTS = Path(__file__).parent
_SECONDS = 120.0


class Cluster:
    """`address`: of the scheduler; `scheduler` and `workers`: their processes."""

    def __init__(self, folder: Path, stack: ExitStack, words: Sequence[str], host: Host) -> None:
        self._folder, self._stack, self._words = folder, stack, words
        self._file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            host, "scheduler", "--host", host.address, "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file",
            str(self._file), *words,
        )  # fmt: skip
        self.address = self._read()

    def add(self, *words: str, host: Host = LOOPBACK, **env: str) -> subprocess.Popen[bytes]:
        """Start one more worker, without a nanny."""
        named = f"w{len(self.workers)}"
        worker = self._start(
            host, "worker", self.address, "--nthreads", "2", "--no-dashboard", "--death-timeout", "600",
            "--local-directory", str(self._folder / named), "--name", named,
            *(words or ("--no-nanny",)), *self._words, **env,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def joined(self, number: int) -> None:
        """Wait until the worker of this number says that the scheduler knows it."""
        log, end = self._folder / f"worker{number}.log", time.monotonic() + _SECONDS
        while "Registered to" not in (text := log.read_text(errors="replace")):
            if time.monotonic() > end or self.workers[number].poll() is not None:
                raise TimeoutError(f"worker {number} did not join: {text}")
            time.sleep(0.05)

    def _start(self, host: Host, kind: str, *words: str, **env: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._folder / f"{kind}{len(self.workers)}.log").open("wb"))
        started = subprocess.Popen(
            [*host.enter, sys.executable, "-m", f"distributed.cli.dask_{kind}", *words],
            env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", **env},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self._stack.callback(_end, started)
        return started

    def _read(self) -> str:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            with suppress(OSError, ValueError):
                return str(json.loads(self._file.read_text())["address"])
            time.sleep(0.05)
        raise TimeoutError("the scheduler did not start")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@contextmanager
def cluster(folder: Path, workers: int, words: Sequence[str] = (), host: Host = LOOPBACK) -> Iterator[Cluster]:
    """A scheduler on a host with so many workers, `words` said to all; the test is skipped without Dask."""
    pytest.importorskip("distributed", reason="no distributed: pip install 'kras[dask]'")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        made = Cluster(folder, stack, words, host)
        for _ in range(workers):
            made.add(host=host)
        yield made
    gc.collect()  # of clients, whose remains would be cleared away in the middle of another test
