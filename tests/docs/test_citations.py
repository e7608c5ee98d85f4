"""What the code cites can be looked up: pages that exist, and on them the feature, section or heading that is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kras_plugins.semantics.features.table import FEATURES, GROUPS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "kras_plugins", "plugins", "training", "benchmarks", "experiments", "examples", "tests", "docs", "deploy",
    ".github",
)  # fmt: skip
WRITTEN = {".py", ".md", ".j2", ".toml", ".yml", ".sh", ".sbatch", ".nf", ".css", ".js", ".svg"}
SOURCES = [
    f
    for f in (*ROOT.glob("*.*"), *(f for folder in FOLDERS for f in sorted((ROOT / folder).rglob("*.*"))))
    if f.suffix in WRITTEN and f != Path(__file__) and "node_modules" not in f.parts
]
NOT_IN_THE_REPOSITORY = re.compile(r"\b(?:science|design|rivals|house-notes|evidence-review)\.md|/work/")
PAGE = re.compile(r"(?<![\w./])docs/[\w./-]+\.md")
NAMED = re.compile(r"(?<!of )docs/reference/(definitions|outputs)\.md,\s+(?:# )?([\w.-]+)(?: and ([\w.-]+))?")
OF = re.compile(r"\b([A-Z]\d{0,2}) of docs/reference/(definitions)\.md")
DEFINITIONS = (ROOT / "docs/reference/definitions.md").read_text(encoding="utf-8")


def names_of(page: str) -> set[str]:
    """What may be named on a page: its headings, its anchors `(def-NAME)=`, and on definitions.md each feature."""
    text = (ROOT / f"docs/reference/{page}.md").read_text(encoding="utf-8")
    headings, anchors = re.findall(r"^#+ (.+)$", text, re.M), re.findall(r"^\(def-(\w+)\)=$", text, re.M)
    names = {heading.strip("`") for heading in headings} | set(anchors)
    if page == "definitions":
        names |= {group.upper() for group in names if len(group) == 1}
        names |= {f"{f.group}{f.number}" for f in FEATURES if f.group in names}
    return names


NAMES = {page: names_of(page) for page in ("definitions", "outputs")}


def cited(text: str) -> list[tuple[str, str]]:
    """(page, name) of each citation."""
    found = [(page, name) for page, *names in NAMED.findall(text) for name in names if name]
    return [(page, name.rstrip(".")) for page, name in found] + [(page, name) for name, page in OF.findall(text)]


def test_what_files_cite_is_in_the_repository_and_on_the_page() -> None:
    lost = []
    for file in SOURCES:
        text = file.read_text(encoding="utf-8")
        faults = NOT_IN_THE_REPOSITORY.findall(text)
        faults += [page for page in PAGE.findall(text) if not (ROOT / page).exists()]
        faults += [f"{page}.md, {name}" for page, name in cited(text) if name not in NAMES[page]]
        lost += [(str(file.relative_to(ROOT)), fault) for fault in faults]
    assert lost == []


def test_the_code_cites_each_group_of_features() -> None:
    code = "".join(f.read_text(encoding="utf-8") for f in SOURCES if "features" in f.parts)
    assert {name for _, name in cited(code)} >= set(GROUPS)


def test_each_feature_is_defined_under_its_group_in_the_order_of_the_groups() -> None:
    sections = re.findall(r"^\(def-([a-n])\)=$(.*?)(?=^\(def-|\Z)", DEFINITIONS, re.M | re.S)
    assert [letter.upper() for letter, _ in sections] == list(GROUPS)
    text = dict(sections)
    assert [f.name for f in FEATURES if f"`{f.name}`" not in text[f.group.lower()]] == []


@pytest.mark.parametrize(
    "text",
    [
        "docs/reference/definitions.md, A16",
        "docs/reference/definitions.md, no-such-section",
        "docs/reference/definitions.md, A15 and D17",
        "group O of docs/reference/definitions.md, O",
        "D17 of docs/reference/definitions.md",
        "docs/reference/outputs.md, nothing.csv",
    ],
)
def test_a_citation_of_nothing_is_found(text: str) -> None:
    assert [name for page, name in cited(text) if name not in NAMES[page]]
