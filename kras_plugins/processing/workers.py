"""Worker processes: each serves one caller at a time, so that one that hangs or dies affects that caller alone."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from kras_plugins.errors import KINDS, BackendError, KrasError, PluginError, as_kras_error
from kras_plugins.host.interrupts import shielded
from kras_plugins.host.isolation import allowed, overdue, slices
from kras_plugins.host.loose_files import find_loose_files
from kras_plugins.store import default_place, store_at
from kras_plugins.urls import Url

R = TypeVar("R")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc; 32 MB is the most that the latter may be
_KILLED = -9
_END_SECONDS = 5.0


class Workers:
    """`count` processes that run one call each, started when they are needed; a context manager.

    `plugins`: loose plug-in files, which workers import where a call needs them; `store`: where theirs is.
    """

    def __init__(self, count: int, plugins: Sequence[Path] = (), store: Path | Url | None = None) -> None:
        where = store or default_place()
        self._store = where if isinstance(where, Url) else where.absolute()
        self._plugins = tuple(path.absolute() for path in plugins)
        self._starting = threading.Lock()
        self._all: list[_Worker] = []
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def run(self, plugin: str, function: Callable[..., R], *args: Any, items: int = 1) -> R:
        """`function(*args)` in a worker; all of it picklable. May be called from many threads.

        `plugin`: what to name if it fails. `items`: how many it works on; the time limit is per item. Raises what the
        call raises as `plugin_boundary` does, Overdue when it does not answer in time, PluginError when it ends its
        process, BackendError when somebody else killed the process.
        """
        job = ForkingPickler.dumps((plugin, function, args))
        worker = self._idle.get()
        try:
            if worker is None:
                with self._starting:
                    worker = _Worker(self._plugins, self._store)
                    self._all.append(worker)
            good, value = worker.run(plugin, job, allowed(items))
        finally:
            if worker is not None and not worker.alive:
                self._all.remove(worker)
                worker = None
            self._idle.put(worker)
        if not good:
            raise value
        result: R = value
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End all; those still at work are killed."""
        for worker in list(self._all):
            worker.hang_up()
        end = monotonic() + (_END_SECONDS if kind is None else 0.0)
        for worker in list(self._all):
            worker.end(max(0.0, end - monotonic()))


class _Worker:
    """One process at the other end of a pipe."""

    def __init__(self, plugins: tuple[Path, ...], store: Path | Url) -> None:
        # spawn, not fork: the parent has threads of inference engines.
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, plugins, store), name="kras-worker")
        with shielded():
            self._process.start()
        theirs.close()
        self.alive = True

    def run(self, plugin: str, job: memoryview, seconds: float | None) -> tuple[bool, Any]:
        """Whether the call succeeded, and what it returned or raised; Overdue after `seconds`, if given."""
        try:
            self._pipe.send_bytes(job)
            if not self._answers(seconds):
                self.alive = False
                self.end()
                raise overdue(plugin, seconds or 0.0, "in a worker process, which was ended")
            good, value = ForkingPickler.loads(self._pipe.recv_bytes())
        except (EOFError, OSError) as e:
            self.alive = False
            raise self._died(plugin) from e
        return good, value

    def _answers(self, seconds: float | None) -> bool:
        for some in slices(seconds):
            if self._pipe.poll(some):
                return True
            # A process that it forked may keep the pipe open although it has ended itself.
            if self._process.exitcode is not None and not self._pipe.poll():
                raise EOFError
        return False

    def _died(self, plugin: str) -> KrasError:
        self._process.join(_END_SECONDS)
        code = self._process.exitcode
        self.end()
        if code == _KILLED:
            return BackendError(
                "a worker process was killed", "it may have run out of memory: use fewer --workers, then run again"
            )
        if code is None:
            how = "it closed the pipe"
        else:
            how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return PluginError(
            f"{plugin} ended its worker process ({how})", "this is a fault of the plug-in, or of a library it uses"
        )

    def hang_up(self) -> None:
        """Say that no more calls come."""
        self._pipe.close()

    def end(self, seconds: float = 0.0) -> None:
        """Kill the process if it has not ended by itself in `seconds`."""
        self._process.join(seconds)
        self._process.kill()
        self._process.join()
        self.hang_up()


def _serve(pipe: Connection, plugins: tuple[Path, ...], store: Path | Url) -> None:
    """What a worker process does: one call after the other, until the pipe is closed."""
    _settle()
    find_loose_files(plugins)
    with store_at(store):
        while True:
            try:
                job = pipe.recv_bytes()
            except (EOFError, OSError):
                os._exit(0)  # whatever threads plug-ins began
            pipe.send_bytes(_answer(job))


def _answer(job: bytes) -> memoryview:
    plugin = "a plug-in"
    try:
        plugin, function, args = ForkingPickler.loads(job)
        return ForkingPickler.dumps((True, function(*args)))
    except BaseException as e:  # noqa: BLE001 - a worker outlives what plug-ins raise; the caller gets it
        return ForkingPickler.dumps((False, _portable(plugin, e)))


def _portable(plugin: str, error: BaseException) -> KrasError:
    """The error as one of our own, which can always be sent; its traceback becomes a note."""
    told = as_kras_error(plugin, error)
    made = next(kind for kind in KINDS if isinstance(told, kind))(str(told.message), str(told.hint))
    made.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    return made


def _settle() -> None:
    with suppress(OSError):  # where there is no stderr
        os.dup2(2, 1)  # what plug-ins print is not a result
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a worker ends at once, and would lose what is in the buffer
    # Ctrl-C reaches every process of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    _keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _keep_freed_memory() -> None:
    """Have the C library keep freed memory: every tile allocates the same arrays again, and new pages are expensive."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def _end_with_parent() -> None:
    # A killed parent does not wait for a running call, which should not go on either.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
