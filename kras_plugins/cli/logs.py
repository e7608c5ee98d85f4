"""Print to stderr what is logged while a command runs: a server was unreachable, a slide was not closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kras_plugins.cli.told import Told
from kras_plugins.study.pseudonyms import hide_now
from kras_plugins.urls import without_credentials


class _Tell(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = without_credentials(hide_now(record.getMessage()))
        if text not in self._told:
            self._told.add(text)
            Told().note(text)


@contextmanager
def told_logs() -> Iterator[None]:
    """Print warnings of the loggers below `kras`, each text once."""
    logger, handler = logging.getLogger("kras"), _Tell()
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
