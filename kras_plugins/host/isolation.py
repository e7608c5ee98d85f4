"""Calls into plug-ins that may never return: each has a deadline, and its failure names the plug-in."""

from __future__ import annotations

import contextvars
import logging
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import monotonic
from typing import ParamSpec, TypeVar

from kras_plugins.errors import PluginError, plugin_boundary

P = ParamSpec("P")
R = TypeVar("R")

DEADLINE = 1800.0
"""Seconds, unless the setting `deadline` is given: much more than the slowest reasonable model takes for a batch."""

_LEAVE_SECONDS = 10.0
"""How long to wait for the other threads of a pool once one of them hangs."""

_SLICE_SECONDS = 1.0

_seconds: contextvars.ContextVar[float] = contextvars.ContextVar("kras_deadline", default=DEADLINE)
_given_up = False


class Overdue(PluginError):
    """A plug-in that did not answer in time; its thread may still be running."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """How long a plug-in may work on one item (a batch of tiles, a slide, a patient); 0 is no limit.

    It applies to this thread and to what `ask` and `slides.stream.ordered_map` start from here, and nowhere else.
    """
    before = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(before)


def allowed(items: int = 1) -> float | None:
    """Seconds that a call for this many items may take; None for no limit."""
    return _seconds.get() * max(1, items) or None


def given_up() -> bool:
    """Whether a call was abandoned: its thread may still be running and cannot be ended."""
    return _given_up


def overdue(plugin: str, seconds: float, doing: str = "") -> Overdue:
    """The error for a plug-in that did not answer in time."""
    return Overdue(
        f"{plugin} gave no answer for {seconds:g} s{doing and ' '}{doing}",
        "it hangs; if it is only slow, raise `deadline` (seconds; 0: none) in [run] of kras.toml",
    )


def slices(seconds: float | None) -> Iterator[float]:
    """Short waits that add up to `seconds`, without end for None.

    Counted this way, a process that was stopped (Ctrl-Z, a batch system) loses one of them and not all of its time.
    """
    left = math.inf if seconds is None else seconds
    while left > 0:
        yield min(_SLICE_SECONDS, left)
        left -= _SLICE_SECONDS


def answer(future: Future[R], plugin: str, doing: str = "", seconds: float | None = None) -> R:
    """The result of a future; Overdue if there is none within `seconds` (None: wait as long as it takes)."""
    global _given_up
    try:
        for some in slices(seconds):
            with suppress(TimeoutError):
                return future.result(some)
            if future.done():
                return future.result()  # its own TimeoutError, or it was done just now
    except BaseException:
        _given_up = _given_up or not future.done()  # Ctrl-C
        raise
    _given_up = True
    raise overdue(plugin, seconds or 0.0, doing)


def ask(plugin: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`function(...)` of a plug-in, for one item; see `ask_about`."""
    return ask_about(plugin, "", allowed(), lambda: function(*args, **kwargs))


def ask_about(plugin: str, doing: str, seconds: float | None, function: Callable[[], R]) -> R:
    """`function()` of a plug-in, in its own thread, so that a call that never ends can be left behind.

    Raises what `plugin_boundary` raises, and Overdue when `seconds` have passed.
    """
    future: Future[R] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            with plugin_boundary(plugin, doing):
                made = context.run(function)
        except BaseException as e:  # noqa: BLE001 - raised again where the answer is awaited
            future.set_exception(e)
        else:
            future.set_result(made)

    threading.Thread(target=work, name=f"kras {plugin}", daemon=True).start()
    return answer(future, plugin, doing, seconds)


@contextmanager
def thread_pool(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads are joined at the end, but no longer than a plug-in may take for an answer."""
    started: list[threading.Thread] = []
    pool = ThreadPoolExecutor(
        count, thread_name_prefix=name, initializer=lambda: started.append(threading.current_thread())
    )
    limit = allowed()
    try:
        yield pool
    except Overdue:
        limit = _LEAVE_SECONDS
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        end = None if limit is None else monotonic() + limit
        for thread in started:
            thread.join(None if end is None else max(0.0, end - monotonic()))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore what an import must not change for others: folder, warnings, logging, stdout and stderr.

    Signal handlers are safe: they can only be set in the main thread, where no plug-in is imported.
    """
    folder, streams, disabled = os.getcwd(), (sys.stdout, sys.stderr), logging.root.manager.disable
    with warnings.catch_warnings():
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            logging.disable(disabled)
            with suppress(FileNotFoundError):  # somebody deleted it
                os.chdir(folder)
