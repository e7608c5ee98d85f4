"""Columns of text as numbers: the decimal mark is inferred from all rows, cells that are not numbers are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kras_plugins.cohort.numbers import UNKNOWN, pattern

if TYPE_CHECKING:
    from kras_plugins.data import Float64

FEWEST_NUMBERS = 5
"""Numbers with fewer distinct values are codes of levels, such as stages."""

_GROUPED = r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+"
_MEANT = (
    rf"[<>~≈≤≥]?=?\s*−?(?:{pattern('.')}|{pattern(',')}|[+-]?[0-9]{{1,3}}(?:[.,'_ \x{{a0}}\x{{202f}}][0-9]{{3}})+"
    r"(?:[.,][0-9]*)?|[+-]?(?i:inf|infinity))\s*%?|#[A-Z0-9/]+[!?]"
)
"""Text that was meant as a number, whether or not it can be read: `1,304.5`, `12 %`, `<0.1`, `#DIV/0!`."""


@dataclass(frozen=True)
class Marks:
    """How many cells have a decimal point, how many a comma, and how many commas cannot mark thousands (`1,304`)."""

    points: int = 0
    commas: int = 0
    certain: int = 0

    def __add__(self, other: Marks) -> Marks:
        return Marks(self.points + other.points, self.commas + other.commas, self.certain + other.certain)

    def decimal(self, delimiter: str) -> str:
        """The decimal mark of a table: if both occur, that of more cells. Commas that may all mark thousands are
        decimal only in a table separated by semicolons, which are used for that purpose."""
        if not self.points:
            return "," if self.certain or (self.commas and delimiter == ";") else "."
        return "," if self.certain > self.points else "."


@dataclass(frozen=True, kw_only=True)
class NumberColumn:
    """`values`: float64[row], NaN where missing or odd; `odd`: rows, from 0, that are neither missing nor a number;
    `numeric`: whether most of what is known was meant as a number."""

    values: Float64
    odd: tuple[int, ...]
    numeric: bool

    @property
    def measured(self) -> bool:
        """Whether there are enough distinct numbers to be measurements; fewer are codes of levels."""
        return len(np.unique(self.values[~np.isnan(self.values)])) >= FEWEST_NUMBERS


def count_marks(column: pa.Array) -> Marks:
    """The marks in a column of texts, or in a part of it."""
    points, commas = (_matching(_holding(column, mark), pattern(mark)) for mark in ".,")
    return Marks(len(points), len(commas), len(commas) - len(_matching(commas, _GROUPED)))


def read_numbers(column: pa.Array, mark: str = ".") -> NumberColumn:
    """A column of texts with this decimal mark; words of UNKNOWN, and any in brackets, are missing."""
    text = pc.utf8_trim_whitespace(column)
    good = pc.fill_null(_is(text, pattern(mark)), False)
    digits = pc.replace_substring(pc.if_else(good, text, pa.scalar(None, text.type)), mark, ".")
    values = np.array(pc.cast(digits, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    rest = np.flatnonzero(~np.isfinite(values))  # texts, and what is too large: 1e999
    values[rest] = np.nan
    words = text.take(pa.array(rest))
    missing = pc.or_(pc.is_in(pc.utf8_lower(words), pa.array(sorted(UNKNOWN), text.type)), _is(words, r"\[.*\]"))
    odd = rest[~pc.fill_null(missing, True).to_numpy(zero_copy_only=False)]
    meant = len(values) - len(rest) + len(_matching(text.take(pa.array(odd)), _MEANT))
    known = len(values) - len(rest) + len(odd)
    return NumberColumn(values=values, odd=tuple(odd.tolist()), numeric=not known or 2 * meant > known)


def floats(texts: Sequence[str]) -> NumberColumn:
    """Texts of one column as numbers, their decimal mark inferred from all of them."""
    column = pa.array(texts, pa.string())
    return read_numbers(column, count_marks(column).decimal(","))


def _is(text: pa.Array, expression: str) -> pa.Array:
    return pc.match_substring_regex(text, f"^(?:{expression})$")


def _matching(text: pa.Array, expression: str) -> pa.Array:
    return text.filter(pc.fill_null(_is(text, expression), False))


def _holding(column: pa.Array, mark: str) -> pa.Array:
    return pc.utf8_trim_whitespace(column.filter(pc.fill_null(pc.match_substring(column, mark), False)))
