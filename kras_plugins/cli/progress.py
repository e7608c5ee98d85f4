"""Progress on stderr: bars where that is a terminal, else a plain line now and then, so that a log never looks hung."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kras_plugins.cli.console import stderr
from kras_plugins.cli.told import Told
from kras_plugins.errors import KrasError
from kras_plugins.study.notify import Notify

_EVERY_SECONDS = 30.0
"""A line of a log at most so often; the last step of a stage always has one."""


class Shown(Notify, Protocol):
    """A Notify that is shown while it is open."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress() -> Shown:
    """Bars where stderr is a terminal, else lines."""
    return Bars() if stderr().is_terminal else Lines()


class Bars(Told):
    """One bar for all slides, one for each stage of a slide in work with tiles/s, one for fits and pages."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=stderr(),
        )
        self._lock = threading.Lock()
        self._slides: TaskID | None = None
        self._stages: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, slides: int) -> None:
        """Show the bar of all slides."""
        self._slides = self._bars.add_task("slides", total=slides, rate="")

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Move a slide's bar."""
        task = self._task((slide_id, stage), f"  {stage} {escape(slide_id)}", total)
        speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
        self._bars.update(task, completed=done, rate=f"{speed:.0f} tiles/s" if speed else "")

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Take the slide's bars away; say why it was set aside."""
        with self._lock:
            for key in [k for k in self._stages if k[0] == slide_id]:
                self._bars.remove_task(self._stages.pop(key))
        if self._slides is not None:
            self._bars.advance(self._slides)
        super().finished(slide_id, failure)

    def step(self, what: str, done: int, total: int) -> None:
        """Move the bar of a stage of known length."""
        task = self._task(("", what.split(" ")[0]), what, total)
        self._bars.update(task, completed=done, description=escape(what))
        if done >= total:
            with self._lock:
                self._bars.remove_task(self._stages.pop(("", what.split(" ")[0])))

    def _task(self, key: tuple[str, str], description: str, total: int) -> TaskID:
        with self._lock:
            if key not in self._stages:
                self._stages[key] = self._bars.add_task(description, total=total, rate="")
            return self._stages[key]


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
        self._slides = [0, slides]
        self._began["slides"] = (self._clock(), 0)
        stderr().print(f"slides: 0 of {slides}")

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """A line about a slide in work."""
        self._line(f"{stage} {slide_id}", done, total, "tiles")

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """A line about all slides."""
        super().finished(slide_id, failure)
        self._slides[0] += 1
        self._line("slides", self._slides[0], self._slides[1])

    def step(self, what: str, done: int, total: int) -> None:
        """A line about a stage of known length."""
        self._line(what.split(" ")[0], done, total)

    def _line(self, what: str, done: int, total: int, unit: str = "") -> None:
        now = self._clock()
        with self._lock:
            since, first = self._began.setdefault(what, (now, done))
            last = done >= total and unit == ""
            if not last and now - self._last < self._every:
                return
            self._last = now
        text, passed = f"{what}: {done} of {total}{unit and ' '}{unit}", now - since
        if passed > 0 and done > first:
            rate = (done - first) / passed
            text += f", {_rate(rate)}" + ("" if last else f", {_duration((total - done) / rate)} left")
        stderr().print(escape(text))


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second * 60:.1f}/min"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def steps(total: int, what: str) -> Progress:
    """A bar for a known number of steps."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr(),
        disable=not stderr().is_terminal,
        transient=True,
    )
    bars.add_task(what, total=total)
    return bars
