"""Results of `gpu.py`: one JSON file per block, rewritten with every row, then one for all and a page's table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""One line of a block: names and numbers, and `ok` (bool) where it is a check."""

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write a block's record into `folder` atomically: a process may be killed while it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(folder, record["block"])
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(part, file)


def read(folder: Path, block: str) -> dict[str, Any] | None:
    """A block's record; None where it never began."""
    file = _file(folder, block)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def forget(folder: Path, block: str) -> None:
    """Remove the record of an earlier run."""
    _file(folder, block).unlink(missing_ok=True)


def _file(folder: Path, block: str) -> Path:
    return folder / f"{block.replace(' ', '-')}.json"


def faults(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each block that failed and each check that does not hold, in words."""
    found = []
    for record in records:
        if record["status"] == "failed":
            found.append(f"{record['block']}: {record['why']}")
        found += [f"{record['block']}: {_line(row)}" for row in record["rows"] if row.get("ok") is False]
    return found


def _line(row: Row) -> str:
    return ", ".join(f"{key} {_cell(value)}" for key, value in row.items() if key != "ok")


def markdown(facts: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> str:
    """The figures as sections of a page."""
    lines = [f"{facts['device']}, {facts['begun']}, {facts['seconds']:.0f} s: `{facts['command']}`", ""]
    for record in records:
        said = f": {record['why']}" if record["why"] else ""
        lines += [f"### {record['block']}", "", f"{record['question']} *{record['status']}{said}*", ""]
        if record["rows"]:
            lines += [*_table(record["rows"]), ""]
    return "\n".join(lines)


def _table(rows: list[Row]) -> list[str]:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    body = [[_cell(row.get(key), check=key == "ok") for key in heads] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *body)]


def _cell(value: Any, check: bool = False) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**" if check else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def put(page: Path, text: str) -> None:
    """Put the figures between the markers of a page; ValueError where it lacks them."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")
