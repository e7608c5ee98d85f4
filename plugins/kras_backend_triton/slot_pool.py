"""The slots of one model: as many as there are requests at once, each reused, none if shared memory fails."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from tritonclient.utils import InferenceServerException

from kras_backend_triton.slots import Slot, clear_dead
from kras_backend_triton.trouble import about_memory, cause, is_absence
from kras_plugins import ModelSpec

if TYPE_CHECKING:
    from kras_backend_triton.endpoint import Endpoint

log = logging.getLogger("kras.backend.triton")


class SlotPool:
    """Slots for batches of at most `batch` tiles; callable from many threads. Once `closed` is set it keeps none."""

    def __init__(self, spec: ModelSpec, batch: int, closed: threading.Event) -> None:
        self._spec = spec
        self._batch = batch
        self._closed = closed
        self._lock = threading.Lock()
        self._free: list[Slot] = []
        clear_dead()

    def take(self, endpoint: Endpoint) -> Slot | None:
        """A region that the server knows; None if tensors must be sent in messages.

        Raises InferenceServerException if the server is down.
        """
        if not endpoint.shared_memory:
            return None
        with self._lock:
            slot = self._free.pop() if self._free else None
        try:
            slot = slot or Slot(self._spec, self._batch)
        except OSError as e:
            _without(endpoint, f"this host has no shared memory left: {e}")
            return None
        try:
            slot.register(endpoint)
        except InferenceServerException as e:
            slot.drop()
            if is_absence(e) and not about_memory(e):
                raise
            _without(endpoint, cause(e))
            return None
        except ValueError:  # gRPC's error for a channel that was closed in another thread
            slot.drop()
            raise
        return slot

    def give_back(self, slot: Slot) -> None:
        """Keep a slot for the next request, after its results were copied."""
        with self._lock:
            if not self._closed.is_set():
                self._free.append(slot)
                return
        slot.drop()

    def close(self, endpoints: list[Endpoint]) -> None:
        """Free all that are not in use, and tell the servers that answer."""
        with self._lock:
            slots, self._free = self._free, []
        for slot in slots:
            endpoints = slot.release(endpoints)


def _without(endpoint: Endpoint, why: str) -> None:
    log.warning("triton at %s: no shared memory (%s); tiles are sent in messages", endpoint.url, why)
    endpoint.shared_memory = False
