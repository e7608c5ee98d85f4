"""Only results go to stdout. What plug-ins print, also from C, goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_results: TextIO | None = None


def results() -> TextIO:
    """The stream for results."""
    return _results or sys.stdout


@contextmanager
def own_stdout() -> Iterator[None]:
    """Keep stdout for `results` while a command runs; `print` and file descriptor 1 lead to stderr.

    The process's own stdout is never restored: a thread that a plug-in leaves behind may print at any time.
    """
    global _results
    if _results is not None:  # a command that another one calls
        yield
        return
    given = sys.stdout
    real = _descriptor(given) == 1
    _results = _apart(given) if real else given
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        if _results is not None:
            _results.flush()
        if not real:
            sys.stdout, _results = given, None


def _descriptor(stream: TextIO | None) -> int | None:
    with suppress(AttributeError, OSError, ValueError):
        return stream.fileno() if stream is not None else None
    return None


def _apart(stdout: TextIO) -> TextIO:
    """A separate stream to where `stdout` leads; from now on, file descriptor 1 leads to stderr."""
    stdout.flush()
    by_line = 1 if stdout.isatty() else -1
    own = os.fdopen(os.dup(1), "w", by_line, encoding=stdout.encoding, errors=stdout.errors)
    told = _descriptor(sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY) if told is None else told, 1)
    return own
