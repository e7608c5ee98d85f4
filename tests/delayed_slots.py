"""Slots on a device that finishes when the test says so, in any order, and runs out of memory when asked to."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import torch

from kras_plugins import ModelSpec, TensorSpec, Weights

SPEC = ModelSpec(
    name="delayed",
    inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(4, 4, 3)),),
    outputs=(TensorSpec(name="features", dtype="float32", shape=(2,)),),
    build=lambda _: torch.nn.Identity(),
    weights=Weights(source="builtin", licence="Apache-2.0"),
)
BATCH = 3


def oracle(tiles: np.ndarray) -> np.ndarray:
    """What the device computes: sum and largest value of each tile, float32[tile 2]."""
    flat = tiles.reshape(len(tiles), -1).astype(np.float32)
    return np.stack([flat.sum(1), flat.max(1)], axis=1)


def tiles(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (n, 4, 4, 3), dtype=np.uint8)


class DelayedSlot:
    """Reads its input buffer and writes its output buffer only when `finish` is called, as a card's copies would.

    `arrived` gets the slot each time that a caller marked the end of its work. `short`: out of memory in `run`.
    """

    def __init__(self, device: str, arrived: queue.SimpleQueue[DelayedSlot]) -> None:
        self.device = device
        self.short = False
        self.seen: list[np.ndarray] = []
        self._inputs = {"tiles": np.full((BATCH, 4, 4, 3), 77, np.uint8)}
        self._outputs = {"features": np.full((BATCH, 2), np.nan, np.float32)}
        self._arrived = arrived
        self._owner: int | None = None
        self._queued: list[str] = []
        self._done = threading.Event()

    @property
    def inputs(self) -> dict[str, Any]:
        assert self._owner is None, "somebody else's batch is still under way"
        return self._inputs

    @property
    def outputs(self) -> dict[str, Any]:
        assert not self._queued, "results are read before they are there"
        return self._outputs

    def copy_in(self) -> None:
        assert self._owner is None
        self._owner = threading.get_ident()
        self._queued.append("in")

    def run(self) -> None:
        if self.short:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self._queued.append("run")

    def copy_out(self) -> None:
        self._queued.append("out")

    def record(self) -> None:
        assert self._owner == threading.get_ident()
        self._done.clear()
        self._arrived.put(self)

    def wait(self) -> None:
        assert self._owner == threading.get_ident()
        assert self._done.wait(60), "the test never finished this slot"
        self._owner = None

    def finish(self) -> None:
        """The device is done with what was queued."""
        if self._queued == ["in", "run", "out"]:
            self.seen.append(self._inputs["tiles"].copy())
            self._outputs["features"][:] = oracle(self._inputs["tiles"])
        self._queued = []
        self._done.set()
