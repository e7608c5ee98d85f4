"""Numbers in tables: how they are written, which words mean missing, and cells that are neither."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

UNKNOWN = frozenset({
    "", "na", "n/a", "#n/a", "<na>", "nan", "none", "null", "unknown", "ns", "[not available]", "[not applicable]",
    "[not evaluated]", "[unknown]",
})  # fmt: skip
"""Words, in any case, for an unknown value (NS: not sequenced). A lone period or dash is not one of them."""

_SHOWN, _LONG, _NAME = 5, 40, 80  # cells named in a message; characters of each, and of the name of a column


def pattern(mark: str) -> str:
    """Regular expression of a number with this decimal mark: digits of ASCII, no separators, no `inf`."""
    m = re.escape(mark)
    return rf"[+-]?(?:[0-9]+(?:{m}[0-9]*)?|{m}[0-9]+)(?:[eE][+-]?[0-9]+)?"


_NUMBER = {mark: re.compile(pattern(mark)) for mark in ".,"}
_WHOLE = re.compile("[0-9]{1,18}")


def number(text: str, mark: str = ".") -> float | None:
    """The finite number a text states, or None; stricter than float(), which also takes `1_000`, `inf` and `１２`."""
    text = text.strip()
    if not _NUMBER[mark].fullmatch(text):
        return None
    value = float(text.replace(mark, "."))
    return value if math.isfinite(value) else None


def whole(text: str) -> int | None:
    """The whole number of up to 18 ASCII digits, or None; `²` and thousands of digits are not numbers."""
    return int(text) if _WHOLE.fullmatch(text) else None


def short(text: str) -> str:
    """A cell as it is named in a message."""
    return repr(_cut(text, _LONG))


def shown(names: Sequence[str], most: int = 12) -> str:
    """Names of columns as a message lists them."""
    return ", ".join(_cut(name, _NAME) for name in names[:most]) + " …" * (len(names) > most)


def _cut(text: str, most: int) -> str:
    return text[:most] + "…" * (len(text) > most)


def odd_cells(file: object, cells: Sequence[tuple[object, str, str]], row: str = "row") -> tuple[str, str]:
    """Message and hint of an error on cells that should be numbers.

    `cells`: row (the header's is 1), column and text of each; `row`: what rows are called.
    """
    listed = "; ".join(
        f"{row} {number}, column {_cut(column, _NAME)!r}: {short(text)}" for number, column, text in cells[:_SHOWN]
    )
    more = " and more" if len(cells) > _SHOWN else ""
    what = "a cell is not a number" if len(cells) == 1 else "cells are not numbers"
    return (
        f"{file}: {what} ({listed}{more})",
        "write numbers with one decimal mark, no thousands separators, %, units or infinity; leave missing ones empty",
    )
