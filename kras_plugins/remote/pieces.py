"""Pieces of remote files: each is read once, neighbors in one request, several requests at once.

A piece is what a reader decodes: a range of bytes, a frame. Pieces are kept while there is room. A piece that another
thread is reading is waited for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from kras_plugins.errors import SlideError

K = TypeVar("K")

CONNECTIONS = 8
KEPT = 128 << 20


class Pieces(Generic[K]):
    """Pieces by their keys, for many threads.

    `grouped` splits keys into groups of one request each, `read` returns the bytes of a group in its order, and `known`
    those of a piece that arrived some other way. `where`: as errors name it.
    """

    def __init__(
        self,
        where: object,
        read: Callable[[Sequence[K]], Sequence[bytes]],
        grouped: Callable[[Sequence[K]], Iterable[Sequence[K]]],
        known: Callable[[K], bytes | None] = lambda _key: None,
    ) -> None:
        self._where, self._read, self._grouped, self._known = where, read, grouped, known
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._coming: dict[K, Future[bytes]] = {}
        self._closed = False
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="kras-pieces")

    def fetch(self, keys: Sequence[K]) -> list[bytes]:
        """The bytes of each piece, kept or read now. Raises what `read` does, SlideError after `close`."""
        coming: dict[K, Future[bytes]] = {}
        mine: list[K] = []
        found: dict[K, bytes] = {}
        with self._lock:
            if self._closed:
                raise SlideError(f"{self._where}: was closed")
            for key in dict.fromkeys(keys):
                if (data := self._here(key)) is not None:
                    found[key] = data
                elif key in self._coming:
                    coming[key] = self._coming[key]
                else:
                    coming[key] = self._coming[key] = Future()
                    mine.append(key)
        self._read_all(mine)
        found |= {key: future.result() for key, future in coming.items()}
        return [found[key] for key in keys]

    def close(self) -> None:
        """Forget what was read; calling it twice is harmless."""
        with self._lock:
            self._closed = True
            waited, self._coming = self._coming, {}
            self._kept.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for future in waited.values():  # inform whoever waits for them
            future.set_exception(SlideError(f"{self._where}: was closed"))

    def _here(self, key: K) -> bytes | None:
        """The bytes of a piece where they are kept; the lock is held."""
        data = self._kept.get(key)
        if data is None:
            return self._known(key)
        self._kept.move_to_end(key)
        return data

    def _read_all(self, keys: Sequence[K]) -> None:
        """Read pieces by groups; whoever waits for one gets it, or the error."""
        groups = list(self._grouped(keys))
        if len(groups) < 2:
            for group in groups:
                self._read_group(group)
            return
        wait([self._pool.submit(self._read_group, group) for group in groups])

    def _read_group(self, group: Sequence[K]) -> None:
        try:
            parts = list(zip(group, self._read(group), strict=True))
        except BaseException as e:
            with self._lock:
                futures = [self._coming.pop(key) for key in group if key in self._coming]
            for future in futures:
                future.set_exception(e)
            if isinstance(e, Exception):
                return  # reported by whoever waits for it
            raise
        for key, part in parts:
            with self._lock:
                self._kept[key] = part
                self._kept_bytes += len(part)
                while self._kept_bytes > KEPT and len(self._kept) > 1:
                    self._kept_bytes -= len(self._kept.popitem(last=False)[1])
                futures = [self._coming.pop(key)] if key in self._coming else []  # none if it was closed
            for future in futures:
                future.set_result(part)
