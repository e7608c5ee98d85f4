"""How long nothing has succeeded: one clock for all requests of a connection, so that a time budget is spent once."""

from __future__ import annotations

import threading
import time


class Patience:
    """Counts from the first failure after the last success; callable from many threads."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: float | None = None
        self._lock = threading.Lock()

    def failed(self) -> float:
        """Record a failure and return for how many seconds there have been only failures."""
        with self._lock:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            return now - self._since

    def succeeded(self) -> None:
        """Record that a server did what was requested."""
        with self._lock:
            self._since = None

    @property
    def left(self) -> float:
        """Seconds until it runs out; all of them when nothing is wrong."""
        with self._lock:
            return self.seconds if self._since is None else self.seconds - (time.monotonic() - self._since)
