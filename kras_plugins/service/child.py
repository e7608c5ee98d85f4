"""The scoring process as its worker handles it: given orders, waited for, and ended with all that it started."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kras_plugins.host.child import ending, kill

_LOOK_S = 0.2
"""How often to check whether the answer is still wanted."""


class Died(Exception):
    """The process ended without an answer; says how."""


class Child:
    """One process in a session of its own, started with the first order and again whenever it is gone.

    `log`: the file of what it prints, readable for its owner alone; each new process begins it again.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def ask(
        self, order: Mapping[str, Any], wanted: Callable[[], bool], stopped: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """The answer to an order; None if it is no longer `wanted` or the worker is `stopped`: this ends the process.

        Raises Died if the process ended first.
        """
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died(process) from None
        said = b""
        while not said.endswith(b"\n"):
            if stopped() or not wanted():
                self.end()
                return None
            if select.select([process.stdout], [], [], _LOOK_S)[0]:
                more = os.read(process.stdout.fileno(), 1 << 16)
                if not more:
                    raise self._died(process)
                said += more
        if not wanted():  # a worker that slept through its lease learns it here, before anything is committed
            self.end()
            return None
        answer: dict[str, Any] = json.loads(said)
        return answer

    def end(self) -> None:
        """End the process; another begins with the next order."""
        if self._process is not None:
            kill(self._process)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what was not read in time is lost
                        pipe.close()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._process is None:
            self._log.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            with open(self._log, "wb", opener=_private) as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "kras_plugins.service.scoring"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        return self._process

    def _died(self, process: subprocess.Popen[bytes]) -> Died:
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < 5:  # its pipe closes shortly before it ends
            time.sleep(0.01)
        code = process.poll()
        self.end()
        return Died("it closed its answers" if code is None else ending(code))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
