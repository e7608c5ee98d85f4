"""How the command ends: with its exit code, whatever plug-ins left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

from kras_plugins.cli.output import results
from kras_plugins.host.isolation import given_up

_PATIENCE = 5.0
"""Seconds that threads and handlers of other code have to end on their own."""


def leave(code: int) -> NoReturn:
    """End the process with `code`; threads that never end, and processes started with multiprocessing, are killed.

    Ctrl-C is ignored from here on: it would show a traceback of the interpreter's shutdown.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if given_up():  # a call that hangs would hang forever, or crash the interpreter during its shutdown
        _cut_off(code)
    threading.Thread(target=_after_a_while, args=(code,), name="kras-leave", daemon=True).start()
    sys.exit(code)


def _after_a_while(code: int) -> None:
    time.sleep(_PATIENCE)
    _cut_off(code)


def _cut_off(code: int) -> NoReturn:
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (results(), sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)
