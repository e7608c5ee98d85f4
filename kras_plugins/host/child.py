"""A limited child process that may hang, crash or grow without harming its parent; its end is described in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from kras_plugins.host.isolation import slices

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""The limit is on address space, and every additional thread wastes some."""

_MOST_WRITTEN = 256 << 20


def limit_self(memory: int, seconds: int) -> None:
    """Bound this process: bytes of address space, seconds of processor time, files it writes; no core dump.

    As far as the system supports it: macOS accepts no limit of memory, Windows none at all.
    """
    if sys.platform == "win32":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _MOST_WRITTEN),
        (resource.RLIMIT_AS, memory),
    ):
        hard = resource.getrlimit(what)[1]
        with suppress(ValueError, OSError):  # a system that does not support it
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def run_alone(module: str, words: Sequence[str], seconds: float, errors: Path) -> str:
    """Run `python -m module words` with one thread for at most `seconds`; "" if it ended well, else how it ended.

    Its stderr goes to the file `errors`; the result quotes the last line. Its stdin is an empty pipe that closes when
    this process is gone: see `end_with_parent`.
    """
    command = [sys.executable, "-P", "-m", module, *words]
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,
        )
        try:
            for some in slices(seconds):
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(some)
                    return "" if code == 0 else f"{ending(code)}{last_words(errors)}"
        finally:
            kill(process)
    return f"no end: it was ended after {seconds:g} s"


def end_with_parent() -> None:
    """In a process that leads a session: kill it, and all that it started, when its stdin closes.

    If a parent is killed, its children go on, so a hanging one would hang forever. Does nothing in the session of
    another process.
    """
    if sys.platform == "win32" or os.getsid(0) != os.getpid():
        return

    def wait() -> None:
        while os.read(0, 1):
            pass
        kill_own_session()

    threading.Thread(target=wait, name="kras-parent", daemon=True).start()


def ending(code: int) -> str:
    """How a process with that return code ended."""
    return f"the end of the process with exit code {code}" if code >= 0 else f"its end by {signal.Signals(-code).name}"


def last_words(errors: Path) -> str:
    """The last line that a process wrote to the file, after a colon; "" if it wrote nothing."""
    words = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {words[-1][:200]}" if words else ""


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that has its own session, and whatever it started; on Windows, which has no sessions, it alone."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def kill_own_session() -> NoReturn:
    """End this process, which is the first of its session, and whatever it started; on Windows, it alone."""
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
