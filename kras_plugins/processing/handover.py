"""Arrays to worker processes through shared memory: a tile and its maps take several MB; a pipe copies them thrice."""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_ALIGN = 64


@dataclass(frozen=True, kw_only=True)
class Lent:
    """Arrays lent to a worker process; picklable.

    `file`: where that process opens the memory; if empty, the arrays themselves are sent. `layout`: dtype, shape and
    first byte of each.
    """

    file: str
    layout: tuple[tuple[str, tuple[int, ...], int], ...]
    sent: tuple[npt.NDArray[Any], ...] = ()

    def arrays(self) -> list[npt.NDArray[Any]]:
        """The arrays, in their order, for as long as they are lent; the lender sees what is written to them."""
        if not self.file:
            return list(self.sent)
        memory = _mapped(self.file)
        return [np.ndarray(shape, dtype, memory, offset) for dtype, shape, offset in self.layout]


_KEPT = 16
"""Pieces of memory that a receiver keeps mapped: each has some tiles and maps, about 8 MB shared with the lender."""
_known: dict[str, tuple[int, mmap.mmap]] = {}


def _mapped(file: str) -> mmap.mmap:
    """The memory of a file, mapped as before if it is still the same: a new mapping costs a fault for each page."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        is_now = os.fstat(descriptor)
        number, memory = _known.get(file, (0, None))
        if memory is None or number != is_now.st_ino or len(memory) != is_now.st_size:
            if len(_known) >= _KEPT:
                _known.clear()
            memory = mmap.mmap(descriptor, 0)
            _known[file] = is_now.st_ino, memory
        return memory
    finally:
        os.close(descriptor)


class Handover:
    """Pieces of shared memory, used again and again: as many as arrays are lent at once.

    They have no name in any file system and are freed with this process (memfd, Linux); elsewhere arrays are sent as
    they are. A context manager; `lend` may be called from several threads.
    """

    def __init__(self) -> None:
        self._free: list[_Piece] = []
        self._all: list[_Piece] = []

    def __enter__(self) -> Handover:
        return self

    def __exit__(self, *_: object) -> None:
        for piece in self._all:
            piece.close()

    @contextmanager
    def lend(self, arrays: Sequence[npt.NDArray[Any]]) -> Iterator[Lent]:
        """Lend copies of `arrays` to another process for as long as the context lasts."""
        if not hasattr(os, "memfd_create"):
            yield Lent(file="", layout=(), sent=tuple(arrays))
            return
        with self._piece() as piece:
            lent, rooms = piece.laid_out([(array.dtype.str, array.shape) for array in arrays])
            for room, array in zip(rooms, arrays, strict=True):
                room[...] = array
            yield lent

    @contextmanager
    def room(self, shape: tuple[int, ...], dtype: str) -> Iterator[tuple[Lent, npt.NDArray[Any]]]:
        """Lend an array for another process to fill, readable here for as long as the context lasts (Linux)."""
        with self._piece() as piece:
            lent, (room,) = piece.laid_out([(dtype, shape)])
            yield lent, room

    @contextmanager
    def _piece(self) -> Iterator[_Piece]:
        try:
            piece = self._free.pop()
        except IndexError:
            piece = _Piece()
            self._all.append(piece)
        try:
            yield piece
        finally:
            self._free.append(piece)


class _Piece:
    """One piece of shared memory, as large as its largest content so far."""

    _descriptor: int

    def __init__(self) -> None:
        if sys.platform == "linux":  # `Handover` makes none elsewhere
            self._descriptor = os.memfd_create("kras-tile")
        self._memory: mmap.mmap | None = None

    def laid_out(self, wanted: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[Lent, list[npt.NDArray[Any]]]:
        """Space for arrays of these dtypes and shapes, as it is lent and as it is seen here."""
        layout, size = [], 0
        for dtype, shape in wanted:
            layout.append((dtype, shape, size))
            size += -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGN) * _ALIGN
        if self._memory is None or len(self._memory) < size:
            os.ftruncate(self._descriptor, max(size, 1))
            self._memory = mmap.mmap(self._descriptor, max(size, 1))
        rooms = [np.ndarray(shape, dtype, self._memory, offset) for dtype, shape, offset in layout]
        return Lent(file=f"/proc/{os.getpid()}/fd/{self._descriptor}", layout=tuple(layout)), rooms

    def close(self) -> None:
        if self._memory is not None:
            self._memory.close()
        os.close(self._descriptor)
