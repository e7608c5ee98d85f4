"""What a study must be told together with its result, handed to whoever asked for the work.

Not logging: what is noted stands in metrics.json and in the report, and must not depend on how an application set up
its logs. What is only of interest while it happens (a server that was away) is logged, below the logger `kras`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_told: ContextVar[Callable[[str], None]] = ContextVar("kras_notes", default=lambda _: None)


def note(text: str) -> None:
    """Tell the study in hand what belongs to its result: columns that were ignored, outlines that were mended.

    Say it each time that it holds, also of what was computed before: a study is told each text once.
    """
    _told.get()(text)


@contextmanager
def noted(tell: Callable[[str], None]) -> Iterator[list[str]]:
    """Collect what is noted meanwhile, each text once, and tell it.

    It holds in this thread and in what `isolation.ask` and `slides.stream.ordered_map` begin from here.
    """
    notes: list[str] = []

    def once(text: str) -> None:
        if text not in notes:
            notes.append(text)
            tell(text)

    before = _told.set(once)
    try:
        yield notes
    finally:
        _told.reset(before)
