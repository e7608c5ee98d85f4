"""JSON from elsewhere: a regular file of limited size, with finite numbers, nested no deeper than a bundle ever is."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kras_plugins.errors import StoreError

MOST_BYTES = 32 << 20
"""The largest `bundle.json` of ten thousand patients is a tenth of this."""
_DEEPEST = 24


def read_strict_json(
    path: Path, most: int = MOST_BYTES, hint: str = "name the folder of a bundle that `kras run` wrote"
) -> Any:
    """The JSON value of a file.

    Raises StoreError for anything but a regular file of at most `most` bytes, for text that is not JSON, for NaN and
    numbers beyond float64, a duplicated key, and values nested too deep.
    """
    try:
        text = _content(path, most).decode("utf-8")
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once)
        _measure(value, _DEEPEST)
    except (OSError, ValueError, RecursionError) as e:
        raise StoreError(f"{path} is missing or damaged: {getattr(e, 'strerror', None) or e}", hint) from e
    return value


def _content(path: Path, most: int) -> bytes:
    # Only a regular file is read, even if it is replaced between the two checks: reading a pipe might wait forever.
    with open(path, "rb", opener=_careful) as f:
        found = os.fstat(f.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > most:
            raise ValueError(f"it has {found.st_size:,} bytes, at most {most:,} are read")
        return f.read(most)


def _careful(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is duplicated")
    return found


def _measure(value: object, deepest: int) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not deepest and inner:
        raise ValueError("it is nested too deep")
    if isinstance(value, int) and abs(value) > 2**63:
        raise ValueError("it contains too large a number")
    for item in inner:
        _measure(item, deepest - 1)
