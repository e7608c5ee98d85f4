"""A level that is stored in pieces of one size: which of them a region touches, and their pixels put together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import SlideError

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

Box = tuple[tuple[int, int], tuple[int, int]]
"""Upper left corner (x, y) and size (width, height) in pixels of a level."""


@dataclass(frozen=True)
class Grid:
    """Tiles or strips of `width` x `height` pixels, `columns` in a row, numbered row by row from 0."""

    width: int
    height: int
    columns: int

    def touched(self, xy: tuple[int, int], size: tuple[int, int]) -> Iterator[int]:
        """The pieces in which pixels of a region lie."""
        (left, top), (width, height) = xy, size
        for row in range(top // self.height, (top + height - 1) // self.height + 1):
            for column in range(left // self.width, (left + width - 1) // self.width + 1):
                yield row * self.columns + column

    def region(self, xy: tuple[int, int], size: tuple[int, int], piece: Callable[[int], UInt8], where: object) -> UInt8:
        """Pixels uint8[h w 3] of a region, from pieces uint8[h w 3], which may be cut at the level's edge.

        Raises SlideError, naming the slide as `where`, for a piece that is smaller than that, and what `piece` raises.
        """
        (left, top), (width, height) = xy, size
        out = np.empty((height, width, 3), np.uint8)
        for index in self.touched(xy, size):
            x, y = index % self.columns * self.width, index // self.columns * self.height
            x0, x1 = max(left, x), min(left + width, x + self.width)
            y0, y1 = max(top, y), min(top + height, y + self.height)
            part = piece(index)[y0 - y : y1 - y, x0 - x : x1 - x]
            if part.shape[:2] != (y1 - y0, x1 - x0):
                raise SlideError(
                    f"{where}: a tile of {part.shape[1]} x {part.shape[0]} pixels is too small", "export it again"
                )
            out[y0 - top : y1 - top, x0 - left : x1 - left] = part
        return out


class Decoded:
    """Decoded pieces by level and number, the least recently used ones forgotten; never fewer than one."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, int], UInt8] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> UInt8 | None:
        """A piece, where it is kept."""
        with self._lock:
            pixels = self._kept.get(key)
            if pixels is not None:
                self._kept.move_to_end(key)
            return pixels

    def put(self, key: tuple[int, int], pixels: UInt8) -> None:
        """Keep a piece."""
        with self._lock:
            if key in self._kept:  # another thread was faster
                return
            self._kept[key] = pixels
            self._bytes += pixels.nbytes
            while self._bytes > self._max and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
