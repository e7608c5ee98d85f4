"""Ctrl-C reaches every process of a terminal; the one that the user started decides what it means."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shielded() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: one that is still importing would end with a traceback.

    Threads started here pass the shield on to the processes that they start. This process may receive a Ctrl-C only at
    the end of the block. Does nothing on Windows.
    """
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it later would lift the shield
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def put_off() -> Iterator[None]:
    """Let Ctrl-C take effect at the end of the block: in a callback from C it would be printed and lost.

    Does nothing in a thread, which Ctrl-C does not reach, nor where Ctrl-C is ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: came.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came.is_set():
            signal.raise_signal(signal.SIGINT)
