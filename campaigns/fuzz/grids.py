"""Tables as grids of texts: changed as people and programs change them, written as they write them."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Must, damage, pick

ODD = ("", "NaN", "null", "0", "1", "2", "-1", "1.0", "0.25", "1e999", "1_000", "x", "é", "²", "a/b", "=1+1", " 1 ")
"""What a cell may be changed to."""


@dataclass(frozen=True)
class Grid:
    """A header and rows of cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def records(self) -> list[dict[str, str]]:
        """The rows by column, their cells stripped."""
        return [{n: cell.strip() for n, cell in zip(self.header, row, strict=True)} for row in self.rows]


def parsed(text: str, delimiter: str) -> Grid | None:
    """The grid of a text; None where it is none, or rows have not as many cells as the header."""
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(line)]
    if not lines or text.count('"') % 2 or any(len(line) != len(lines[0]) for line in lines):
        return None
    return Grid(tuple(lines[0]), tuple(map(tuple, lines[1:])))


def written(
    grid: Grid, delimiter: str, *, end: str = "\n", quoting: int = csv.QUOTE_MINIMAL, before: str = "", after: str = ""
) -> str:
    """The text of a grid."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(grid.header)
    writer.writerows(grid.rows)
    return before + out.getvalue() + after


def change_grid(
    file: Path,
    rng: random.Random,
    meaning: Callable[[Grid], Any],
    *,
    delimiter: str = ",",
    odd: Sequence[str] = ODD,
    zipped: bool = False,
    comments: bool = False,
    unused: Sequence[str] = (),
) -> Change:
    """Change a table; `meaning` says what a grid must be read as, computed apart from the product.

    `zipped`, `comments`: whether a gzipped table, and lines that begin with `#` before the header, are as good.
    `unused`: columns that nobody reads, which may contradict themselves.
    """
    grid = parsed(file.read_text(encoding="utf-8"), delimiter)
    assert grid is not None

    def edited() -> Change:
        what, changed = _edited(grid, rng, odd)
        file.write_text(written(changed, delimiter), encoding="utf-8")
        return Change(what, meaning(changed))

    def restyled() -> Change:
        what, content = rng.choice(_styles(grid, delimiter, zipped, comments))
        file.write_bytes(content)
        return Change(what, Must.SAME)

    def torn() -> Change:
        text = file.read_text(encoding="utf-8")
        at = rng.randrange(len(text))
        file.write_text(text[:at], encoding="utf-8")
        left = parsed(text[:at], delimiter)
        return Change(f"cut off at character {at}", Must.REFUSED if left is None else meaning(left))

    def ragged() -> Change:
        at, longer = rng.randrange(len(grid.rows)), rng.random() < 0.5
        row = (*grid.rows[at], "7") if longer else grid.rows[at][:-1]
        rows = (*grid.rows[:at], row, *grid.rows[at + 1 :])
        file.write_text(written(Grid(grid.header, rows), delimiter), encoding="utf-8")
        return Change(f"row {at} has a cell too {'many' if longer else 'few'}", Must.REFUSED)

    def contradicted() -> Change:
        column, at = rng.randrange(len(grid.header)), rng.randrange(len(grid.rows))
        copies = [(*row, rng.choice(odd) if r == at else row[column]) for r, row in enumerate(grid.rows)]
        header = (*grid.header, grid.header[column])
        file.write_text(written(Grid(header, tuple(copies)), delimiter), encoding="utf-8")
        said = {copies[at][column].strip(), copies[at][-1].strip()} - {""}
        must = Must.REFUSED if len(said) > 1 and header[-1] not in unused else Must.SAME
        return Change(f"column {header[-1]!r} twice, {' and '.join(sorted(said))} in row {at}", must)

    return pick(
        rng, [(1, contradicted), (10, edited), (2, restyled), (2, torn), (1, ragged), (3, lambda: damage(file, rng))]
    )


def _styles(grid: Grid, delimiter: str, zipped: bool, comments: bool) -> list[tuple[str, bytes]]:
    plain = written(grid, delimiter)
    styles = [
        ("lines end as on Windows", written(grid, delimiter, end="\r\n").encode()),
        ("a byte order mark", b"\xef\xbb\xbf" + plain.encode()),
        ("blank lines at the end", (plain + "\n\n").encode()),
        ("every cell in quotes", written(grid, delimiter, quoting=csv.QUOTE_ALL).encode()),
        ("no line end after the last row", plain.removesuffix("\n").encode()),
    ]
    if zipped:
        styles.append(("gzipped", gzip.compress(plain.encode(), mtime=0)))
    if comments:
        styles.append(("comments before the header", b"#version 2.4\n# made by hand\n" + plain.encode()))
    return styles


def _edited(grid: Grid, rng: random.Random, odd: Sequence[str]) -> tuple[str, Grid]:
    """A grid as people edit it, and what was done."""
    header, rows = list(grid.header), [list(row) for row in grid.rows]
    column, row, other = rng.randrange(len(header)), rng.randrange(len(rows)), rng.randrange(len(rows))
    name = header[column]
    match rng.randrange(10):
        case 0:
            rng.shuffle(rows)
            what = "rows shuffled"
        case 1:
            order = rng.sample(range(len(header)), len(header))
            header, rows = [header[i] for i in order], [[cells[i] for i in order] for cells in rows]
            what = f"columns permuted to {order}"
        case 2:
            rows.insert(rng.randrange(len(rows) + 1), list(rows[row]))
            what = f"row {row} twice"
        case 3:
            del rows[row]
            what = f"row {row} left out"
        case 4:
            header[column] = rng.choice([f"{name}s", f"my {name}", "note", f"{name}2"])
            what = f"column {name!r} renamed {header[column]!r}"
        case 5:
            del header[column]
            for cells in rows:
                del cells[column]
            what = f"column {name!r} left out"
        case 6:
            header.append(name)
            for cells in rows:
                cells.append(cells[column])
            what = f"column {name!r} twice"
        case 7:
            rows[row][column], rows[other][column] = rows[other][column], rows[row][column]
            what = f"column {name!r}: cells of rows {row} and {other} exchanged"
        case _:
            rows[row][column] = rng.choice(odd)
            what = f"column {name!r}, row {row}: {rows[row][column]!r}"
    return what, Grid(tuple(header), tuple(map(tuple, rows)))
