"""CSV that people open: a text that a spreadsheet would run as a formula gets a leading apostrophe.

Excel, LibreOffice and Sheets run a cell that begins with one of these signs, wherever its text came from (CWE-1236).
Our readers remove the apostrophe again, so that ids are the same after a round trip. An id that truly begins with
apostrophes and such a sign gets one more, so what is read is what was written.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = r"[=+\-@\t\r\n＝＋－＠]"
_RUN, _GUARDED = re.compile(rf"'*{_FORMULA}"), re.compile(rf"''*{_FORMULA}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def guarded(text: str) -> str:
    """The text as a cell that no spreadsheet runs; a number, even with a sign, stays as it is."""
    return f"'{text}" if _RUN.match(text) and not _NUMBER.fullmatch(text) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV with a header: texts guarded, floats in full precision, None as an empty cell.

    `columns`: the header if there are no rows; otherwise the header is the first row's keys.
    """
    names, lines = list(rows[0] if rows else columns), _Lines()
    writer = csv.DictWriter(lines, names, lineterminator="\r\n")
    writer.writerow({name: guarded(name) for name in names})
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return "".join(lines)


class _Lines(list[str]):
    """Rows as `csv` writes them. It quotes only the line ends that it ends rows with, so rows end with both kinds."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")


def plain(table: pa.Table) -> pa.Table:
    """A table that Arrow read from such a CSV, with the original texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [
        pc.replace_substring_regex(column, rf"^'('*{_FORMULA})", r"\1") if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, [unguarded(name) for name in table.column_names])


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value)
    return repr(value) if isinstance(value, float) else value
