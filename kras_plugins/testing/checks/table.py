"""The tables of docs/how-to/conformance.md: `python -m kras_plugins.testing.checks.table FILE` writes them."""

from __future__ import annotations

import sys
from pathlib import Path

from kras_plugins.testing.checks.catalog import CHECKS
from kras_plugins.testing.checks.rule import Check

BEGIN, END = "<!-- checks: made by `python -m kras_plugins.testing.checks.table FILE` -->\n", "<!-- end of checks -->\n"

_GROUPS = (
    ("Every plug-in", ("module", "reader extractor profiler classifier backend")),
    ("Extractors and profilers that see tiles", ("live extractor live profiler",)),
    ("Extractors", ("live extractor", "extractor")),
    ("Profilers", ("live profiler",)),
    ("Extractors and profilers that load what was made elsewhere", ("loading extractor loading profiler",)),
    ("Classifiers", ("classifier",)),
    ("Readers", ("reader",)),
    ("Backends", ("backend",)),
)
"""Headings with the kinds of their checks."""


def markdown() -> str:
    """One table for each group of kinds; every check is in one table."""
    parts = []
    for heading, kinds in _GROUPS:
        rows = [_row(check) for check in CHECKS if " ".join(check.kinds) in kinds]
        parts.append("\n".join([f"### {heading}\n", "| check | what | asked in |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def updated(text: str) -> str:
    """The page with the current tables between its marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{rest.partition(END)[2]}"


def _row(check: Check) -> str:
    words = check.words.replace("|", "\\|")
    return f"| `{check.name}` | {check.what} | `{check.file}`: “{words}” |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
