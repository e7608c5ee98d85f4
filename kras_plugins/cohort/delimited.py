"""Tables as other tools write them: tabs, commas or semicolons, gzipped or not, `#` lines before the header."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kras_plugins.cohort.numbers import short
from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.files.regular import STREAMED, open_unpacked
from kras_plugins.files.spreadsheet import unguarded

_OTHERS = {";": "semicolons", "|": "bars", " ": "spaces"}
_LONGEST_LINE = 64 << 20
"""Characters: a file without line ends would be read into memory as a whole."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Columns:
    """The columns of a table by meaning; `where` maps each meaning to the columns that may state it, best first.

    `header`: the names of the columns as written.
    """

    path: Path
    where: Mapping[str, tuple[int, ...]]
    header: tuple[str, ...] = ()

    def __contains__(self, meaning: str) -> bool:
        return bool(self.where.get(meaning))

    def get(self, cells: Sequence[str], meaning: str) -> str:
        """The first of the meaning's columns that is not blank in this row, "" if all are."""
        return next((cells[i].strip() for i in self.where.get(meaning, ()) if cells[i].strip()), "")

    def named(self, cells: Sequence[str], meaning: str) -> str:
        """The name of the column that `get` takes the meaning from."""
        at = self.where.get(meaning, ())
        return next((self.header[i] for i in at if cells[i].strip()), self.header[at[0]] if at else meaning)


@contextmanager
def naming_damage(path: Path, error: type[KrasError] = ConfigError) -> Iterator[None]:
    """Raise `error`, naming the file, for anything that opening, unpacking or decoding it raises."""
    try:
        yield
    except UnicodeDecodeError as e:
        if e.object[:2] in _UTF16:
            raise error(f"{path} is UTF-16 text", "save it as UTF-8 (in Excel: CSV UTF-8)") from e
        raise error(f"{path} is not UTF-8 text (byte {e.start})", "is it another kind of file?") from e
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        what = f"{path} cannot be read: it ends too early or is damaged ({e})"
        raise error(what, "download it again and compare its md5") from e
    except OSError as e:
        raise error(f"{path} cannot be read: {e.strerror or e}", "check the name") from e


def open_text(path: Path, most: int = STREAMED) -> IO[str]:
    """Open a text file, unpacked if it is gzipped; ConfigError if it cannot be read."""
    with naming_damage(path):
        return io.TextIOWrapper(open_unpacked(path, most), encoding="utf-8-sig")


def read_lines(path: Path, most: int = STREAMED) -> Iterator[tuple[int, str]]:
    """The non-blank lines, each with its number, after those that begin with `#`; ConfigError on damage."""
    header = False
    with naming_damage(path), open_text(path, most) as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), 1):
            if len(line) == _LONGEST_LINE:
                raise ConfigError(
                    f"{path}, line {number}: has no end, so it is not a table", "is it another kind of file?"
                )
            if "\0" in line:
                raise ConfigError(f"{path}, line {number}: contains a NUL byte, so it is not text", "export it again")
            header = header or not line.startswith("#")
            if line.strip() and header:
                yield number, line.rstrip("\r\n")


def delimiter_of(header: str) -> str:
    """The separator of a table's columns, judged by its header: a tab, a semicolon or a comma."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max("\t;,", key=bare.count)


def read_rows_of(path: Path, delimiters: str = "\t,;", most: int = STREAMED) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows of a table, each with the number of its line, streamed, with as many cells as the header.

    Drops blank cells beyond the header and blank ones at the header's end, blank rows, a repeated header (files that
    were joined), and `#` lines with another number of cells.
    Raises ConfigError if the file has more than `most` bytes, is empty, is separated by none of `delimiters`, or has a
    row with more or fewer cells than the header.
    """
    lines = read_lines(path, most)
    first = next(lines, None)
    if first is None:
        raise ConfigError(f"{path} is empty: it has no rows", "it needs a header that names its columns, and rows")
    if first[1].startswith("version https://git-lfs"):
        raise ConfigError(f"{path} is a Git LFS pointer, not the file", "fetch it: git lfs pull, or download the study")
    mark = delimiter_of(first[1])
    rows = _split(path, itertools.chain([first], lines), mark)
    start, header = next(rows)
    refused = [name for other, name in _OTHERS.items() if other == mark or (len(header) == 1 and other in first[1])]
    if mark not in delimiters or (len(header) == 1 and refused):
        raise ConfigError(f"{path} is separated by {refused[0]}", "save it with tabs or commas")
    n = len(header)
    while n > 1 and not header[n - 1].strip():
        n -= 1
    yield start, header[:n]
    for number, cells in rows:
        if not any(cell.strip() for cell in cells) or cells[:n] == header[:n]:
            continue
        if cells[0].startswith("#") and len(cells) != len(header):
            continue
        if len(cells) < n or any(cell.strip() for cell in cells[n:]):
            raise ConfigError(
                f"{path}, line {number}: {len(cells)} cells under a header of {n}",
                "the file was cut off or edited, or a text with a comma is not quoted: download it again",
            )
        yield number, cells[:n]


def read_table(path: Path, meanings: Mapping[str, Sequence[str]]) -> tuple[Columns, Iterator[tuple[int, list[str]]]]:
    """A table's columns by meaning, and its rows with their line numbers, streamed.

    `meanings`: names of columns that may state each; case is ignored, and a space equals an underscore. Raises
    ConfigError as `read_rows_of` does, and if non-blank columns of the same name differ in a row.
    """
    rows = read_rows_of(path, "\t,")
    header = next(rows)[1]
    names = [_plain(name) for name in header]
    where = {
        meaning: tuple(i for wanted in some for i, name in enumerate(names) if name == _plain(wanted))
        for meaning, some in meanings.items()
    }
    used = sorted({i for some in where.values() for i in some})
    alike = [some for name in {names[i] for i in used} if len(some := [i for i in used if names[i] == name]) > 1]
    return Columns(path, where, tuple(header)), _agreeing(path, rows, header, alike) if alike else rows


def _agreeing(
    path: Path, rows: Iterator[tuple[int, list[str]]], header: Sequence[str], alike: Sequence[Sequence[int]]
) -> Iterator[tuple[int, list[str]]]:
    """The rows; ConfigError if columns of the same name contradict each other."""
    for number, cells in rows:
        for some in alike:
            said = sorted({cells[i].strip() for i in some} - {""})
            if len(said) > 1:
                what = f"column {header[some[0]]!r} appears twice, as {short(said[0])} and {short(said[1])}"
                raise ConfigError(f"{path}, line {number}: {what}", "keep one")
        yield number, cells


def header_of(path: Path) -> list[str]:
    """The names of a table's columns as written."""
    return next(read_rows_of(path))[1]


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().lower())


def _split(path: Path, lines: Iterable[tuple[int, str]], mark: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line, without the apostrophes that our own tables add."""
    if mark == "\t":  # R quotes every text; a quote inside a text is literal
        for number, line in lines:
            cells = line.split("\t")
            if '"' in line:
                cells = [c[1:-1] if len(c) > 1 and c[0] == c[-1] == '"' else c for c in cells]
            yield number, [unguarded(cell) for cell in cells] if "'" in line else cells
        return
    at = 0

    def texts() -> Iterator[str]:
        nonlocal at
        for number, line in lines:
            at = number
            yield f"{line}\n"

    try:
        for cells in csv.reader(texts(), delimiter=mark, strict=True):
            yield at, [unguarded(cell) for cell in cells]
    except csv.Error as e:
        what = f"{path}, line {at}: {e}: the table cannot be read further"
        raise ConfigError(what, "correct the quotes in that line or before it") from e
