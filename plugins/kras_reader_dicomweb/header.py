"""The header of an instance as DICOM JSON (PS3.18, annex F); only requested attributes are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydicom.datadict import tag_for_keyword


@dataclass(frozen=True)
class Header:
    """Attributes by their keywords. Raises ValueError or TypeError if one has the wrong kind."""

    attributes: Mapping[str, Any] = field(repr=False)  # names, numbers and dates of patients are among them

    def values(self, keyword: str) -> list[Any]:
        """All values of an attribute; none where it is absent or empty."""
        found = self.attributes.get(_tag(keyword), {})
        values = found.get("Value", []) if isinstance(found, Mapping) else None
        if not isinstance(values, list):
            raise TypeError(f"{keyword} is not a list of values")
        return values

    def text(self, keyword: str) -> str:
        """The first value as text, "" without one."""
        values = self.values(keyword)
        return str(values[0]).strip() if values and values[0] is not None else ""

    def number(self, keyword: str, default: int | None = None) -> int:
        """The first value as a whole number that is not negative."""
        values = self.values(keyword)
        value = values[0] if values else default
        if value is None:
            raise ValueError(f"{keyword} is not stated")
        try:
            number = int(value)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"{keyword} is not a number") from None
        if not 0 <= number < 1 << 32:
            raise ValueError(f"{keyword} is {number}")
        return number

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence."""
        return [Header(item) for item in self.values(keyword)]


@lru_cache(maxsize=64)
def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"{tag:08X}"
