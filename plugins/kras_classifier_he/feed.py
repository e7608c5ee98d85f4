"""Tiles on their way from the store to the device: the next ones are read while the network computes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
import torch

from kras_plugins import Sample
from kras_plugins.learning.tiles import gather
from kras_plugins.slides.stream import ordered_map

if TYPE_CHECKING:
    from kras_plugins.learning.tiles import Index

READERS = 2
"""Threads that read; at most one piece more than these is in memory."""


@dataclass(frozen=True)
class Piece:
    """Tiles that go through the networks together: for each sample those at its index.

    `last`: whether it is the last piece of a patient or of an optimizer step. In training, `patients`: the samples'
    positions in the training part; `batch`: how many patients the step has.
    """

    samples: Sequence[Sample]
    indexes: Sequence[Index]
    last: bool
    patients: Sequence[int] = ()
    batch: int = 0

    @property
    def lengths(self) -> list[int]:
        """Tiles of each sample."""
        return [len(index) for index in self.indexes]


class Feed:
    """Reads pieces ahead into the same few buffers, which for an NVIDIA GPU are in page-locked memory.

    Buffers allocated for each piece would fragment the memory of the reading threads, more with each patient.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers = [_Buffer(pinned=device.type == "cuda") for _ in range(READERS + 1)]

    def __call__(self, pieces: Iterable[Piece]) -> Generator[tuple[Piece, torch.Tensor]]:
        """Each piece with its features float32[tile feature] on the device, samples end to end, in the given order.

        They are valid until the next one is requested. `pieces` are requested in this thread, a few ahead.
        """
        free: SimpleQueue[_Buffer] = SimpleQueue()
        for buffer in self._buffers:
            free.put(buffer)

        def read(piece: Piece) -> tuple[Piece, _Buffer, torch.Tensor]:
            buffer = free.get()
            return piece, buffer, buffer.filled(piece)

        with ThreadPoolExecutor(READERS, thread_name_prefix="he-tiles") as pool:
            for piece, buffer, tiles in ordered_map(pool, read, pieces, READERS + 1):
                there = tiles.to(self._device, non_blocking=buffer.pinned)
                buffer.record()
                yield piece, there
                free.put(buffer)


class _Buffer:
    """Space for a piece, as large as the largest so far. If not `pinned`, it is copied before it is used again."""

    def __init__(self, *, pinned: bool) -> None:
        self.pinned = pinned
        self._tiles = torch.empty((0, 0))
        self._copied: torch.cuda.Event | None = None

    def filled(self, piece: Piece) -> torch.Tensor:
        """The piece's features float32[tile feature], once what was here before is on the card."""
        if self._copied is not None:
            self._copied.synchronize()
        n, dim = sum(piece.lengths), piece.samples[0].bags[0].features.shape[1]
        if len(self._tiles) < n or self._tiles.shape[1] != dim:
            self._tiles = torch.empty((n, dim), dtype=torch.float32, pin_memory=self.pinned)
        tiles = self._tiles[:n]
        parts = np.split(tiles.numpy(), np.cumsum(piece.lengths)[:-1])
        for sample, index, part in zip(piece.samples, piece.indexes, parts, strict=True):
            gather(sample, index, part)
        return tiles

    def record(self) -> None:
        """Mark the end of the copy that was queued, in the stream in which it is queued."""
        if self.pinned:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
