"""What a client counted for one model, and what the servers counted during the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tritonclient.utils import InferenceServerException

from kras_plugins import ModelSpec

if TYPE_CHECKING:
    from kras_backend_triton.endpoint import Endpoint


class Tally:
    """Counts and seconds; callable from many threads."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._lock = threading.Lock()
        self._mine = {"requests": 0.0, "retries": 0.0, "wall_s": 0.0, "tiles": 0.0, "tiles_in_shared_memory": 0.0}
        self._before: dict[str, dict[str, float]] = {}

    def meet(self, endpoint: Endpoint) -> None:
        """Record a server's counts at its first request; InferenceServerException if it is down."""
        if endpoint.url not in self._before:
            self._before[endpoint.url] = endpoint.statistics(self._spec.name, self._spec.version)

    def count(self, **more: float) -> None:
        """Add to what this client counts."""
        with self._lock:
            for name, value in more.items():
                self._mine[name] += value

    def report(self, endpoints: Iterable[Endpoint]) -> dict[str, float]:
        """What this client counted, and what the servers report for the same time (other clients' work included)."""
        found = dict(self._mine)
        for endpoint in endpoints:
            try:
                now = endpoint.statistics(self._spec.name, self._spec.version)
            except InferenceServerException:
                continue  # it has stopped, and its counts are lost
            then = self._before.get(endpoint.url, {})
            # A server that was restarted counts from zero.
            restarted = any(now[k] < v for k, v in then.items())
            for key, value in now.items():
                change = value if restarted else value - then.get(key, 0.0)
                found[f"server_{key}"] = found.get(f"server_{key}", 0.0) + change
        server_s = sum(found.get(f"server_{k}", 0.0) for k in ("queue_s", "input_s", "compute_s", "output_s"))
        found["transfer_s"] = max(0.0, self._mine["wall_s"] - server_s)
        return found
