"""Logs for machines: one JSON object per line, without the names of patients or slides or the places where they lie.

The service's own messages name cases by their ids and are written in full, except for paths. Messages of libraries may
quote a file or a URL: of these only the template is written, without the values that were filled in.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from kras_plugins.urls import without_credentials

OWN = "kras.service"
FIELDS = ("case", "state", "attempt", "seconds", "method", "route", "status")
"""The keys that `extra` of a message may add; others are left out."""
LEFT_OUT = "…"
_ROOT = r"(?<![\w/:.])(?:[A-Za-z]:[\\/]|\\\\|~?/)"
_PATH = re.compile(rf"'{_ROOT}[^']*'|\"{_ROOT}[^\"]*\"|{_ROOT}.*?(?=: |$)", re.MULTILINE)
"""An absolute path within a text: the quoted part, else up to a colon or to the end, as folders may have spaces."""
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+")
_FILLED = re.compile(r"%(?:\(\w+\))?[#0 +-]*[\d*]*(?:\.[\d*]+)?[a-zA-Z]")


class JsonLines(logging.Formatter):
    """One line per record: `at` (UTC), `level`, `logger`, `message`, the `FIELDS` that it has, and where it failed."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        value: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        value |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info is not None and record.exc_info[1] is not None:
            value["failed"] = list(_where(record.exc_info[1]))
        return json.dumps(value, default=str)


@contextmanager
def json_logs(stream: TextIO, level: int = logging.INFO) -> Iterator[None]:
    """Write what is logged while the block runs: the service's messages from `level` up, all others from warnings up.

    It replaces all other handlers of the logger `kras`. Uvicorn's line for each request is not written: addresses may
    contain what somebody searched for.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    ours, root, access = logging.getLogger("kras"), logging.getLogger(), logging.getLogger("uvicorn.access")
    elsewhere = logging.Filter()
    elsewhere.filter = lambda record: not record.name.startswith("kras")  # type: ignore[method-assign]
    others = logging.StreamHandler(stream)
    others.setFormatter(JsonLines())
    others.setLevel(logging.WARNING)
    others.addFilter(elsewhere)
    before = ours.level, access.disabled, ours.handlers[:]
    ours.handlers[:] = [handler]
    root.addHandler(others)
    ours.setLevel(level)
    access.disabled = True
    try:
        yield
    finally:
        ours.handlers[:] = before[2]
        root.removeHandler(others)
        ours.setLevel(before[0])
        access.disabled = before[1]


def _message(record: logging.LogRecord) -> str:
    if record.name == OWN or record.name.startswith(f"{OWN}."):
        return _PATH.sub(LEFT_OUT, _URL.sub(LEFT_OUT, without_credentials(record.getMessage())))
    if not record.args:  # template and values cannot be told apart
        return LEFT_OUT
    return _FILLED.sub(LEFT_OUT, str(record.msg))


def _where(error: BaseException) -> Iterator[str]:
    """Kinds of an error and of its causes, each with the lines of code it came from; no text, which may quote names."""
    found: BaseException | None = error
    while found is not None:
        yield type(found).__name__
        step = found.__traceback__
        while step is not None:
            code = step.tb_frame.f_code
            yield f"  {Path(code.co_filename).name}:{step.tb_lineno} {code.co_name}"
            step = step.tb_next
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
