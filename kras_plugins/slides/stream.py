"""The data path: read tiles ahead of the model in several threads, hand them on in order, keep memory flat."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from kras_plugins.host.isolation import Overdue, allowed, answer, thread_pool

if TYPE_CHECKING:
    from kras_plugins.data import TileGrid, UInt8
    from kras_plugins.slides.slide import Slide

T = TypeVar("T")
R = TypeVar("R")

Corners: TypeAlias = "list[tuple[float, float]]"
"""Level-0 pixels (x, y) of tiles' upper left corners, halo included."""

Read: TypeAlias = "Callable[[Corners, int, float], UInt8]"
"""Called as `(corners, pixels a side, mpp)`; gives uint8[tile side side 3]."""

OnTiles = Callable[[str, int, int], None]
"""Called as `(stage, tiles done, tiles in all)` while a slide is worked on."""


@dataclass(frozen=True)
class TileBatch:
    """Tiles `first`, `first + 1`, … of a grid: `pixels` uint8[tile h w 3], halo included."""

    first: int
    pixels: UInt8


def ordered_map(
    pool: Executor, work: Callable[[T], R], items: Iterable[T], ahead: int, plugin: str = ""
) -> Generator[R]:
    """`map(work, items)` in the pool, results in order, never more than `ahead` items begun and not yet consumed.

    `work` sees the caller's context variables (store, deadline, notes).
    The first exception of `work` is raised in its turn; what was begun is canceled or waited for by the pool.
    `plugin`: whose code `work` calls; Overdue names it if it does not answer in time.
    """
    begun: deque[Future[R]] = deque()

    def first() -> R:
        return answer(begun.popleft(), plugin, seconds=allowed() if plugin else None)

    try:
        for item in items:
            begun.append(pool.submit(contextvars.copy_context().run, work, item))
            if len(begun) >= ahead:
                yield first()
        while begun:
            yield first()
    finally:
        for future in begun:
            future.cancel()


def stream_tiles(
    slide: Slide, grid: TileGrid, *, batch: int, threads: int, first: int = 0, read: Read | None = None
) -> Generator[TileBatch]:
    """Batches of a grid's tiles in order, from tile `first` on, read by `threads` threads up to two batches each ahead.

    Each thread calls `read`, by default `read_into` on the slide. Memory: at most `2 * threads + 1` batches.
    Raises SlideError where the slide is damaged, Overdue where it hangs.
    """
    spec = grid.spec
    side = spec.px + 2 * spec.halo_px
    halo = np.array(grid.size) / spec.px * spec.halo_px

    def batch_at(first: int) -> TileBatch:
        corners: Corners = (grid.xy[first : first + batch] - halo).tolist()
        if read is not None:
            return TileBatch(first, read(corners, side, spec.mpp))
        pixels = np.empty((len(corners), side, side, 3), np.uint8)
        read_into(pixels, slide, corners, spec.mpp)
        return TileBatch(first, pixels)

    with thread_pool(threads, "kras-read") as pool:
        try:
            firsts = range(first, len(grid), batch)
            yield from ordered_map(pool, batch_at, firsts, ahead=2 * threads, plugin=slide.plugin)
        except Overdue:
            slide.leave_open()
            raise


def read_into(pixels: UInt8, slide: Slide, corners: Corners, mpp: float) -> None:
    """Read tiles at these corners into uint8[tile side side 3]; raises as `Slide.read` does."""
    side = pixels.shape[1]
    slide.expect(corners, (side, side), mpp)
    for tile, corner in zip(pixels, corners, strict=True):
        tile[...] = slide.read(corner, (side, side), mpp)
