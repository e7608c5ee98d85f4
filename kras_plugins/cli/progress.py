"""Progress on stderr: bars where that is a terminal, else a plain line now and then, so that a log never looks hung."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from kras_plugins.cli.console import escape, stderr
from kras_plugins.cli.told import Told
from kras_plugins.errors import KrasError
from kras_plugins.study.notify import Notify, duration

_EVERY_SECONDS = 30.0
"""A log gets at most one line in this time; the number of slides and the last step of a stage always get one."""


class Shown(Notify, Protocol):
    """A Notify that is shown while it is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress() -> Shown:
    """Bars where stderr is a terminal, else lines."""
    if not stderr().is_terminal:
        return Lines()
    from kras_plugins.cli.bars import Bars

    return Bars()


class Lines(Told):
    """A line now and then: stage, done of all, rate and time left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, every: float = _EVERY_SECONDS) -> None:
        self._clock, self._every = clock, every
        self._lock = threading.Lock()
        self._slides = [0, 0]
        self._began: dict[str, tuple[float, int]] = {}
        self._last = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def begin(self, slides: int) -> None:
        """Say how many slides are to come."""
        with self._lock:
            self._slides, self._last = [0, slides], self._clock()
            self._began["slides"] = (self._last, 0)
        stderr().print(f"slides: 0 of {slides}")

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """A line about a slide in progress."""
        self._line(f"{stage} {slide_id}", done, total, "tiles")

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """A line about all slides."""
        super().finished(slide_id, failure)
        with self._lock:
            self._slides[0] += 1
            done, total = self._slides
        self._line("slides", done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """A line about a stage of known length."""
        self._line(what, done, total, stage=what.split(" ")[0])

    def _line(self, what: str, done: int, total: int, unit: str = "", stage: str = "") -> None:
        now = self._clock()
        with self._lock:
            since, first = self._began.setdefault(stage or what, (now, done))
            last = done >= total and unit == ""
            if not last and now - self._last < self._every:
                return
            self._last = now
        text, passed = f"{what}: {done} of {total}{unit and ' '}{unit}", now - since
        if passed > 0 and done > first:
            rate = (done - first) / passed
            text += f", {_rate(rate)}" + ("" if last else f", {duration((total - done) / rate)} left")
        stderr().print(escape(text))


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"
