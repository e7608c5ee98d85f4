"""Code blocks of Markdown pages: found, judged (is it run, and if not, why), and run as a reader would type them.

A comment right above a block says what cannot be seen from it:

    <!-- not run: REASON -->                  the block is only read
    <!-- not run "kras model fetch": REASON --> lines that begin so are left out, the others run
    <!-- file: NAME -->                       the block is written to that file of the page's folder
    <!-- setup: NAME -->                      something of `doc_setups` is laid into the folder first
    <!-- schema: recipe -->                   of TOML: not a kras.toml but a recipe of `kras pretrain`
    <!-- exits: 1 -->                         its last command is meant to end so

Blocks of a page run in their order, in one folder. Lines that only call `kras` run in this process, all others in bash.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from kras_plugins.cli.app import app
from kras_plugins.cohort.table import read_cohort
from kras_plugins.pretraining.recipe import read_recipe
from kras_plugins.study.session import opened
from kras_plugins.study.settings import StudySettings

ROOT = Path(__file__).resolve().parents[1]
SHELL = ("sh", "bash", "console", "")
DATA = ("toml", "json", "yaml", "csv")
PICTURES = ("mermaid",)
"""Drawn by the page's host, not code. Directives of the site, ```{toctree}, are run by the build of the site."""

_COMMENT = re.compile(r'<!--\s*(not run|file|setup|schema|exits)(?:\s+"([^"]+)")?\s*:\s*(.*?)\s*-->', re.S)
_PLAIN = re.compile(r"[|&;<>`$*~()]")
"""What only a shell understands, outside of quotes."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of code: where it is, what it holds, what the comments above it say."""

    page: Path
    line: int
    language: str
    text: str
    reason: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    setups: tuple[str, ...] = ()
    schema: str = ""
    exits: int = 0

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def fault(self) -> str:
        """Why nobody can know whether this block is true; empty where it is run, or says why not."""
        absent = [
            test
            for test in re.findall(r"tests/[\w/]+\.py", " ".join((self.reason, *self.skipped.values())))
            if not (ROOT / test).is_file()
        ]
        if absent:
            return f"{self}: there is no {absent[0]}"
        if self.reason or self.file or self.language in PICTURES or self.language.startswith("{"):
            return "" if len(self.reason.split()) != 1 else f"{self}: {self.reason!r} is no reason"
        if self.language not in (*SHELL, *DATA, "python"):
            return f"{self}: a block of {self.language!r} is not run; write <!-- not run: REASON --> above it"
        idle = [word for word in self.skipped if not any(line.startswith(word) for line in self.lines())]
        return f"{self}: no line begins with {idle[0]!r}" if idle else ""

    def lines(self) -> list[str]:
        """Commands, continued lines joined; of a console's text those after `$`."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
        return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order, fenced or indented."""
    above: list[str] = []
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            above.append(token.content)
            continue
        if token.type in ("fence", "code_block"):
            said = [(key, word, value) for text in above for key, word, value in _COMMENT.findall(text)]
            whole = {key: value for key, word, value in said if not word}
            yield Block(
                page=page,
                line=(token.map or [0])[0] + 1,
                language=token.info.split()[0] if token.info else "",
                text=token.content,
                reason=whole.get("not run", ""),
                skipped={word: value for key, word, value in said if word},
                file=whole.get("file", ""),
                setups=tuple(value for key, _, value in said if key == "setup"),
                schema=whole.get("schema", ""),
                exits=int(whole.get("exits", 0)),
            )
        above = []


class Runner:
    """Runs the blocks of one page in `folder`, with one store for all pages."""

    def __init__(self, folder: Path, store: Path, setups: Mapping[str, Callable[[Path], None]]) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._setups = setups
        bin = Path(sys.executable).parent
        kept = {key: value for key, value in os.environ.items() if not key.startswith("KRAS_")}
        path = f"{bin}{os.pathsep}{os.environ['PATH']}"
        self._environment = kept | {"KRAS_CACHE": str(store), "KRAS_CONFIG": str(folder / ".settings"), "PATH": path}

    def run(self, block: Block) -> None:
        """Run, write or read one block; AssertionError where it does not hold."""
        for name in block.setups:
            self._setups[name](self.folder)
        if block.file:
            file = self.folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.reason or block.language in PICTURES or block.language.startswith("{"):
            return
        elif block.language in SHELL:
            self._shell(block)
        elif block.language == "python":
            with self._at_home():
                exec(compile(block.text, str(block), "exec"), self.names)
        else:
            self._data(block)

    @contextmanager
    def _at_home(self) -> Iterator[None]:
        with mock.patch.dict(os.environ, self._environment, clear=True), chdir(self.folder):
            yield

    def _shell(self, block: Block) -> None:
        lines = [line for line in block.lines() if not any(line.startswith(word) for word in block.skipped)]
        words = [shlex.split(line, comments=True) for line in lines] if "<<" not in block.text else []
        plain = words and all(
            w[0] == "kras" and not _PLAIN.search(_unquoted(line)) for w, line in zip(words, lines, strict=True)
        )
        if not plain:
            script = "\n".join(["set -e", *lines])
            command = ["bash", "-c", script if "<<" not in block.text else f"set -e\n{block.text}"]
            done = subprocess.run(
                command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=300,
            )  # fmt: skip
            assert done.returncode == block.exits, f"{block}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            return
        for i, (_, *arguments) in enumerate(words):
            expected = block.exits if i == len(words) - 1 else 0
            with self._at_home(), warnings.catch_warnings():
                warnings.simplefilter("default")
                done = CliRunner().invoke(app, arguments)
            said = f"{block}: `{lines[i]}` ended with {done.exit_code}\n{done.output}"
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise AssertionError(said) from done.exception
            assert done.exit_code == expected, said

    def _data(self, block: Block) -> None:
        """Parse it, and where it is one of ours, read it as the product does: kras.toml, recipe, cohort table."""
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language == "csv":
            header, *rows = csv.reader(block.text.splitlines())
            assert all(len(row) == len(header) for row in rows), f"{block}: rows of unequal length"
            if "patient_id" in header:
                read_cohort(self._written(block), labelled="g12c" in header, needs_paths=False)
        elif block.schema == "recipe":
            read_recipe(self._written(block), ())
        elif not {"project", "build-system", "tool"} & set(tomllib.loads(block.text)):
            with self._at_home():
                with opened(StudySettings.load(self._written(block))):
                    pass

    def _written(self, block: Block) -> Path:
        file = self.folder / f"block.{block.language}"
        file.write_text(block.text, encoding="utf-8")
        return file


def _unquoted(line: str) -> str:
    """The line without comments and quoted parts."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\s#.*", "", line)
