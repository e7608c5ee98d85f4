"""Progress on stderr: one bar for the slides, one for each slide in work, with tiles/s and time left."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kras_plugins.cli.common import show_trace, stderr
from kras_plugins.errors import KrasError


class SlideProgress:
    """An `execution.Progress` drawn by rich; prints nothing but failures where stderr is no terminal."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=stderr(),
            disable=not stderr().is_terminal,
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
        with self._lock:
            task = self._stages.get((slide_id, stage))
            if task is None:
                task = self._bars.add_task(f"  {stage} {escape(slide_id)}", total=total, rate="")
                self._stages[slide_id, stage] = task
        speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
        self._bars.update(task, completed=done, rate=f"{speed:.0f} tiles/s" if speed else "")

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        """Take the slide's bars away; say why it was set aside."""
        with self._lock:
            for key in [k for k in self._stages if k[0] == slide_id]:
                self._bars.remove_task(self._stages.pop(key))
        if self._slides is not None:
            self._bars.advance(self._slides)
        if failure is not None:
            stderr().print(f"[yellow]set aside {escape(slide_id)}:[/] {escape(str(failure))}")
            show_trace(failure)


def steps(total: int, what: str) -> Progress:
    """A bar for a known number of steps (fits of a cross-validation)."""
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
