"""Progress on a terminal: a bar for all slides, one per stage of each slide in progress, one for fits and pages."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kras_plugins.cli.console import stderr
from kras_plugins.cli.told import Told
from kras_plugins.errors import KrasError


class Bars(Told):
    """A bar for all slides, one per stage of each slide in progress with tiles/s, one for fits and pages."""

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
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, slides: int) -> None:
        """Show the bar of all slides."""
        self._slides = self._add("slides", slides)

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """Move a slide's bar."""
        task = self._task((slide_id, stage), f"  {stage} {escape(slide_id)}", total)
        speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
        self._bars.update(task, completed=done, rate=f"{speed:.0f} tiles/s" if speed else "")

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Remove the slide's bars; report why it was set aside."""
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
                self._stages[key] = self._add(description, total)
            return self._stages[key]

    def _add(self, description: str, total: int) -> TaskID:
        self._bars.start()  # nothing is drawn before the first bar: only one of several processes may draw bars
        return self._bars.add_task(description, total=total, rate="")
