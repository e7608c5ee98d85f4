"""Notes that belong to a study's result, passed to whoever asked for the work.

This is not logging: notes go into metrics.json and the report, and must not depend on how an application set up its
logs. What is only of interest while it happens (a server was unreachable) is logged, below the logger `kras`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_told: ContextVar[Callable[[str], None]] = ContextVar("kras_notes", default=lambda _: None)


def note(text: str) -> None:
    """Add a note to the current study's result: columns that were ignored, outlines that were repaired.

    Call it each time that it applies, also for results computed earlier: a study records each text once.
    """
    _told.get()(text)


@contextmanager
def noted(tell: Callable[[str], None]) -> Iterator[list[str]]:
    """Collect the notes made inside the block, each text once, and pass them to `tell`.

    It applies to this thread and to what `isolation.ask` and `slides.stream.ordered_map` start from here.
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
