"""Tiles on their way from the store to the device: the next ones are read while the network computes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    """Tiles that go through the networks together: of each sample those at its index.

    `last`: of those that belong together, a patient's or an optimizer step's. In training, `patients`: the samples'
    places in the training part; `batch`: how many patients the step has.
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


def feed(pieces: Iterable[Piece], device: torch.device) -> Generator[tuple[Piece, torch.Tensor]]:
    """Each piece with its features float32[tile feature] on the device, samples end to end, in the given order.

    `pieces` are asked for in this thread, a few ahead. For an NVIDIA GPU features lie in page-locked memory, from which
    they are copied while it computes; PyTorch keeps that memory until the copy is done.
    """

    def read(piece: Piece) -> tuple[Piece, torch.Tensor]:
        dim = piece.samples[0].bags[0].features.shape[1]
        tiles = torch.empty((sum(piece.lengths), dim), dtype=torch.float32, pin_memory=device.type == "cuda")
        parts = np.split(tiles.numpy(), np.cumsum(piece.lengths)[:-1])
        for sample, index, part in zip(piece.samples, piece.indexes, parts, strict=True):
            gather(sample, index, part)
        return piece, tiles

    with ThreadPoolExecutor(READERS, thread_name_prefix="he-tiles") as pool:
        for piece, tiles in ordered_map(pool, read, pieces, READERS + 1):
            yield piece, tiles.to(device, non_blocking=True)
