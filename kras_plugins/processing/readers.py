"""Worker processes that read tiles: each has a slide open, its own cache, and shared memory that it fills."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kras_plugins.data import SlideRef
from kras_plugins.errors import SlideError
from kras_plugins.processing.handover import Handover, Lent
from kras_plugins.processing.workers import Workers
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.stream import Corners, Read, read_into

if TYPE_CHECKING:
    from types import TracebackType

    from kras_plugins.data import UInt8
    from kras_plugins.host.parts import UsableReader
    from kras_plugins.urls import Url

_KEPT = 2
"""Slides that a process keeps open: as many as are processed at once."""


@dataclass(frozen=True)
class _Lane:
    """One process and the memory it fills, which is mapped once because no other process fills it."""

    process: Workers
    memory: Handover


class Readers:
    """`count` processes that read tiles, started when they are needed; a context manager.

    `wanted`: whether they read this run's slides; set once threads were seen to hold each other up.
    `plugins` and `store`: as of Workers.
    """

    def __init__(self, count: int, plugins: Sequence[Path] = (), store: Path | Url | None = None) -> None:
        self.count = count if hasattr(os, "memfd_create") else 0
        self.wanted = False
        self._lanes = [_Lane(Workers(1, plugins, store), Handover()) for _ in range(self.count)]
        self._idle = set(range(self.count))
        self._free = threading.Semaphore(self.count)
        self._lock = threading.Lock()
        self._ends = ExitStack()

    def read(self, slide: Slide, reader: UsableReader, batch_width: float) -> Read | None:
        """A function that reads tiles of `slide`, opened by `reader`, in a process; None if it cannot be sent to one.

        `batch_width`: width of a batch in a row, in level-0 pixels. Batches below each other go to one process if it
        is idle, because it has already decoded what they share.
        """
        if slide.file is None:  # threads wait for the network as well as processes do, and share what they receive
            return None
        its = _sharing_out(reader, self.count)
        # Processes open only the file; they need nothing else from the cohort's row.
        ref = SlideRef(patient_id="", slide_id=slide.ref.slide_id, path=slide.file, mpp=slide.ref.mpp)
        try:
            ForkingPickler.dumps((its, ref))
        except Exception:  # noqa: BLE001 - whatever a plug-in's record holds: threads read it as well
            return None

        def read(corners: Corners, side: int, mpp: float) -> UInt8:
            shape = (len(corners), side, side, 3)
            with self._lane(int(corners[0][0] / batch_width)) as lane, lane.memory.room(shape, "|u1") as (lent, room):
                lane.process.run(slide.plugin, read_lent, its, ref, slide.fingerprint, lent, corners, mpp)
                pixels: UInt8 = room.copy()
                return pixels

        return read

    @contextmanager
    def _lane(self, column: int) -> Iterator[_Lane]:
        with self._free:
            with self._lock:
                at = column % self.count
                at = at if at in self._idle else min(self._idle)
                self._idle.remove(at)
            try:
                yield self._lanes[at]
            finally:
                with self._lock:
                    self._idle.add(at)

    def __enter__(self) -> Self:
        for lane in self._lanes:
            self._ends.enter_context(lane.memory)
            self._ends.enter_context(lane.process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.__exit__(kind, error, trace)


def _sharing_out(reader: UsableReader, count: int) -> UsableReader:
    """The reader with a share of the memory per slide that its option `cache_mb`, if it has one, allows."""
    whole = getattr(reader.options, "cache_mb", None)
    if not isinstance(whole, int):
        return reader
    return replace(reader, options=reader.options.model_copy(update={"cache_mb": max(1, whole // max(1, count))}))


_slides: OrderedDict[tuple[Path | None, str, str], Slide] = OrderedDict()


def read_lent(reader: UsableReader, ref: SlideRef, fingerprint: str, lent: Lent, corners: Corners, mpp: float) -> None:
    """Read tiles into lent memory, in a worker process; SlideError if the file has changed."""
    (pixels,) = lent.arrays()
    read_into(pixels, _opened(reader, ref, fingerprint), corners, mpp)


def _opened(reader: UsableReader, ref: SlideRef, fingerprint: str) -> Slide:
    key = ref.path, reader.plugin.name, fingerprint
    slide = _slides.get(key)
    if slide is None:
        slide = open_slide(ref, [reader], reader.plugin.name)
        if slide.fingerprint != fingerprint:
            slide.close()
            raise SlideError(f"{ref.path}: changed while it was read", "run the same command again")
        _slides[key] = slide
        while len(_slides) > _KEPT:
            _slides.popitem(last=False)[1].close()
    _slides.move_to_end(key)
    return slide
