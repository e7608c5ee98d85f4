"""Every code block of README, CONTRIBUTING and docs runs as it stands, or says why it is not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import Block, Runner, blocks
from doc_setups import SETUPS, draw, study
from networks import lay_networks

from kras_plugins.errors import KrasError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = {page: [b for b in blocks(page) if b.fault() or not b.reason] for page in PAGES}
WITH_BLOCKS = [page for page, found in RUN.items() if found]


LONG = {
    "abstract-5399.md", "audit.md", "bundles.md", "cluster.md", "encoders.md", "labels.md", "own-cells.md", "python.md",
    "qupath.md", "serve-with-triton.md",
}  # fmt: skip
"""Pages of minutes, whose subject other tests cover."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw(folder)
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    lay_networks(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    assert [fault for block in blocks(page) if (fault := block.fault())] == []


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=named(page), marks=pytest.mark.long if page.name in LONG else ()) for page in WITH_BLOCKS],
)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, drawn: Path, store: Path, tmp_path: Path) -> None:
    study(drawn, tmp_path, store)
    runner = Runner(tmp_path, store, SETUPS)
    for block in blocks(page):
        runner.run(block)


def first(text: str, folder: Path) -> Block:
    page = folder / "page.md"
    page.write_text(text)
    (block,) = blocks(page)
    return block


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```text\nout\n```", "is not run"),
        ("```rust\nfn\n```", "is not run"),
        ("<!-- not run: later -->\n```sh\nmake\n```", "is no reason"),
        ('<!-- not run "kras fly": no such command -->\n```sh\nkras doctor\n```', "no line begins with 'kras fly'"),
        ("<!-- not run: see tests/cli/test_nothing.py -->\n```sh\nmake\n```", "there is no tests/cli/test_nothing.py"),
        ("<!-- not run: this is output -->\n\nSomething else.\n\n```text\nout\n```", "is not run"),
    ],
)
def test_a_block_that_is_neither_run_nor_excused_is_a_fault(text: str, said: str, tmp_path: Path) -> None:
    assert said in first(text, tmp_path).fault()


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nkras plugin show no_such_plugin\n```",
        "    kras plugin show no_such_plugin",
        "```sh\nkras plugin list --no-such-option\n```",
        "```console\n$ kras plugin show vit | grep no-such-thing\n```",
        "```python\nassert 1 == 2\n```",
        "```toml\n[run]\nfold = 3\n```",
        '```toml\n[extractor.vit]\nmodell = "uni"\n```',
        "```json\n{'a': 1}\n```",
        "<!-- exits: 1 -->\n```sh\nkras plugin list\n```",
    ],
)
def test_a_block_that_does_not_hold_fails(text: str, store: Path, tmp_path: Path) -> None:
    block = first(text, tmp_path)
    assert block.fault() == ""
    with pytest.raises((AssertionError, ValueError, KrasError)):
        Runner(tmp_path, store, {}).run(block)


def test_lines_that_are_excused_are_left_out_and_files_are_written(store: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path, store, {})
    runner.run(first('<!-- not run "kras fly": no such command -->\n```sh\nkras fly\nkras plugin list\n```', tmp_path))
    runner.run(first("<!-- file: a/b.txt -->\n```text\nhello\n```", tmp_path))
    runner.run(first("```sh\ngrep hello a/b.txt > c.txt\n```", tmp_path))
    assert (tmp_path / "c.txt").read_text() == "hello\n"
