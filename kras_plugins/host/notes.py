"""What plug-ins note (loggers below `kras`), handed to whoever asked for the work that they do.

Logging is set up once, when this module is imported, and never again: two studies in two threads each get their own
notes, and an application's handlers see all of them besides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_told: ContextVar[Callable[[str, bool], None] | None] = ContextVar("kras_notes", default=None)

_BACKEND = "kras.backend."
"""That a server was away for a while is no part of a result, which must be the same without it."""


class _HandOn(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell = _told.get()
        if tell is not None:
            tell(record.getMessage(), not record.name.startswith(_BACKEND))


logging.getLogger("kras").addHandler(_HandOn(logging.INFO))
logging.getLogger("kras").setLevel(logging.INFO)


@contextmanager
def noted(tell: Callable[[str], None]) -> Iterator[list[str]]:
    """Tell what is noted meanwhile, each text once, and collect those that belong to a result.

    It holds in this thread and in what `isolation.ask` and `slides.stream.ordered_map` begin from here.
    """
    notes: list[str] = []
    seen: set[str] = set()

    def once(text: str, of_result: bool) -> None:
        if text not in seen:
            seen.add(text)
            tell(text)
            if of_result:
                notes.append(text)

    before = _told.set(once)
    try:
        yield notes
    finally:
        _told.reset(before)
