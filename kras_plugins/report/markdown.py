"""The model card, the checklists and the change plan as Markdown files, for those who keep them beside a bundle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from kras_plugins.files.atomic import write_atomic
from kras_plugins.report.checklist import Checklist
from kras_plugins.report.model_card import Section

# What could become markup, a link or a cell border when text from a cohort or manifest is shown.
_SPECIAL = re.compile(r"([\\`*\[\]<>|~#])")


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(c if c == '---' else plain(c) for c in line)} |\n" for line in lines)


def write_sections(file: Path, title: str, sections: Sequence[Section], before: str = "") -> Path:
    """Write a document of sections, `before` in front of them; raises StoreError when it cannot be written."""
    text = f"# {plain(title)}\n" + (f"\n{plain(before)}\n" if before else "")
    for section in sections:
        text += f"\n## {plain(section.title)}\n\n" + "".join(f"- {plain(point)}\n" for point in section.points)
        if section.headers:
            text += ("\n" if section.points else "") + table(section.headers, section.rows)
    write_atomic(file, text)
    return file


def write_checklist(file: Path, title: str, checklist: Checklist) -> Path:
    """Write the checklist; raises StoreError when it cannot be written."""
    rows = [(number, topic, asked, answer) for number, topic, asked, answer, _ in checklist.rows]
    text = (
        f"# {checklist.name} checklist: {plain(title)}\n\n"
        f"{checklist.source}. Items in our own words; the published checklist is what counts.\n\n"
    )
    write_atomic(file, text + table(("Item", "Topic", "Asks for", "This run"), rows))
    return file
