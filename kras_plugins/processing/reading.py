"""A slide's tiles on their way to a model: read by threads, and by processes once threads hold each other up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from kras_plugins.cores import cores
from kras_plugins.slides.stream import TileBatch, stream_tiles

if TYPE_CHECKING:
    from kras_plugins.data import TileGrid
    from kras_plugins.host.parts import UsableReader
    from kras_plugins.processing.readers import Readers
    from kras_plugins.slides.slide import Slide

Tiles: TypeAlias = "Callable[[TileGrid, int], Generator[TileBatch]]"
"""Called as `(grid, batch)`: `read_tiles` of one slide."""

FEW = 4
"""Up to this many threads never hold each other up: each has the interpreter's lock for a tenth of its time."""
WINDOW_S = 2.0
WAITING = 0.5
"""If a model waits for tiles at least this share of the time, reading is the bottleneck."""
BUSY = 0.7
"""A process with enough to do that uses less than this share of the cores is held up by its own lock."""


def read_tiles(
    slide: Slide, grid: TileGrid, batch: int, *, threads: int, reader: UsableReader, readers: Readers
) -> Generator[TileBatch]:
    """`stream_tiles`, by `threads` threads or by the processes of `readers`: the same batches in the same order.

    When the model waits for tiles although cores are idle, processes take over in the middle of the slide, and read
    the following slides too. Raises as `stream_tiles` does.
    """
    there = 0
    read = readers.read(slide, reader, batch * grid.size[0]) if readers.count else None
    if read is None or not readers.wanted:
        watch = Watch(threads)
        with closing(stream_tiles(slide, grid, batch=batch, threads=threads)) as batches:
            while there < len(grid) and not (read and readers.wanted):
                began = watch.clock()
                tiles = next(batches)
                if read and watch.held_up(watch.clock() - began):
                    readers.wanted = True
                    logging.getLogger("kras.slides").info("%d processes read from here on", readers.count)
                there = tiles.first + len(tiles.pixels)
                yield tiles
    if there < len(grid):
        yield from stream_tiles(slide, grid, batch=batch, threads=readers.count, first=there, read=read)


class Watch:
    """Looks, window by window, whether reading threads hold each other up. `clock` and `cpu`: seconds."""

    def __init__(
        self, threads: int, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self.clock = clock
        self._cpu = cpu
        self._cores = min(threads, cores())
        self._begin()

    def _begin(self) -> None:
        self._began, self._cpu_began, self._waited = self.clock(), self._cpu(), 0.0

    def held_up(self, waited: float) -> bool:
        """Whether the window that ends now shows that; `waited`: seconds that the model just waited for tiles."""
        self._waited += waited
        elapsed, used = self.clock() - self._began, self._cpu() - self._cpu_began
        if elapsed < WINDOW_S:
            return False
        found = self._waited > WAITING * elapsed and used < BUSY * self._cores * elapsed
        self._begin()
        return found
