"""Tables as the world writes them: tabs or commas, gzipped or not, `#` lines before the header."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kras_plugins.errors import ConfigError
from kras_plugins.files.regular import open_unpacked
from kras_plugins.files.spreadsheet import unguarded


@dataclass(frozen=True)
class Columns:
    """Where to find what in a table's rows; `where` maps a meaning to the columns that may tell it, best first."""

    path: Path
    where: Mapping[str, tuple[int, ...]]

    def __contains__(self, meaning: str) -> bool:
        return bool(self.where.get(meaning))

    def get(self, cells: Sequence[str], meaning: str) -> str:
        """The first of the meaning's columns that is not blank in this row, "" where none is."""
        return next((cells[i].strip() for i in self.where.get(meaning, ()) if cells[i].strip()), "")


def open_text(path: Path) -> IO[str]:
    """Open a text file, unpacking gzip by its first bytes, whatever its name; ConfigError where it cannot be read."""
    try:
        return io.TextIOWrapper(open_unpacked(path), encoding="utf-8-sig")
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror or e}", "check the name") from e


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are neither blank nor begin with `#`, each with its number; ConfigError on a damaged file."""
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith("#"):
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path} is not UTF-8 text (byte {e.start})", "is it another kind of file?") from e
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ConfigError(f"{path} ends too early or is damaged: {e}", "download it again and compare its md5") from e


def read_table(path: Path, meanings: Mapping[str, Sequence[str]]) -> tuple[Columns, Iterator[tuple[int, list[str]]]]:
    """A table's columns by meaning, and its rows with their line numbers, streamed.

    `meanings`: names of columns, in any case, that may tell each. Raises ConfigError where the file is empty, where it
    is not separated by tabs or commas and, while rows are read, where one has not as many cells as the header.
    """
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise ConfigError(f"{path} is empty", "it needs a header that names its columns, and rows")
    if first[1].startswith("version https://git-lfs"):
        raise ConfigError(f"{path} is a Git LFS pointer, not the file", "fetch it: git lfs pull, or download the study")
    tab = "\t" in first[1]
    header = _cells(first[1], tab, f"{path}, line {first[0]}")
    if len(header) == 1:
        for mark, name in ((";", "semicolons"), ("|", "bars"), (" ", "spaces")):
            if mark in first[1]:
                raise ConfigError(f"{path} is separated by {name}", "save it with tabs or commas")
    names = [name.strip().lower() for name in header]
    where = {
        meaning: tuple(i for wanted in some for i, name in enumerate(names) if name == wanted.lower())
        for meaning, some in meanings.items()
    }

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, line in lines:
            cells = _cells(line, tab, f"{path}, line {number}")
            if len(cells) != len(header):
                raise ConfigError(
                    f"{path}, line {number}: {len(cells)} cells under a header of {len(header)}",
                    "the file was cut off or edited: download it again",
                )
            yield number, cells

    return Columns(path, where), rows()


def header_of(path: Path) -> list[str]:
    """The names of a table's columns as written."""
    first = next(read_lines(path), (0, ""))[1]
    return _cells(first, "\t" in first, str(path))


def _cells(line: str, tab: bool, where: str) -> list[str]:
    cells = _split(line, tab, where)
    return [unguarded(cell) for cell in cells] if "'" in line else cells


def _split(line: str, tab: bool, where: str) -> list[str]:
    if tab:  # R puts every text in quotes; a quote inside of a text is one
        cells = line.split("\t")
        return [c[1:-1] if len(c) > 1 and c[0] == c[-1] == '"' else c for c in cells] if '"' in line else cells
    try:
        return next(csv.reader(io.StringIO(line)), [])
    except csv.Error as e:
        raise ConfigError(f"{where}: {e}", "is it a table with commas?") from e
