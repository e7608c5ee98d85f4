"""The help of every command fits 80 columns, cuts nothing off, names no Python type and loses no word."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from kras_plugins.cli.app import app

ROOT = typer.main.get_command(app)


def commands(found: typer.core.TyperGroup, *above: str) -> Iterator[tuple[str, ...]]:
    yield above
    for name, one in found.commands.items():
        if isinstance(one, typer.core.TyperGroup):
            yield from commands(one, *above, name)
        else:
            yield (*above, name)


ALL = list(commands(ROOT))


def named(words: tuple[str, ...]) -> typer.core.TyperCommand:
    found = ROOT
    for word in words:
        found = found.commands[word]
    return found


def help_of(words: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(("kras", *words)))
def test_help_cuts_nothing_at_80_columns_and_its_values_are_words(words: tuple[str, ...]) -> None:
    lines = help_of(words).splitlines()
    assert [line for line in lines if line.rstrip().endswith("...")] == []
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if re.search(r"<[\w\[\]|-]+>|\bTEXT\b|\bPATH\b|\[\[|\{", line)] == []


@pytest.mark.parametrize("words", [w for w in ALL if w], ids=" ".join)
def test_no_word_of_the_help_is_lost(words: tuple[str, ...]) -> None:
    shown = "".join(help_of(words).split())
    for parameter in named(words).params:
        assert "".join((parameter.help or "").split()) in shown


@pytest.mark.parametrize("words", [w for w in ALL if w], ids=" ".join)
def test_the_summary_of_a_command_is_one_whole_sentence(words: tuple[str, ...]) -> None:
    summary = (named(words).help or "").split("\n\n")[0]
    assert summary.endswith(".")
    assert " ".join(summary.split()) in help_of(words[:-1])


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("run",), "kras run [OPTIONS] [COHORT]"),
        (("predict",), "kras predict [OPTIONS] BUNDLE SLIDE…"),
        (("model", "fetch"), "kras model fetch [OPTIONS] [NAME…]"),
        (("plugin", "new"), "kras plugin new [OPTIONS] KIND NAME"),
    ],
)
def test_usage_names_each_argument_once(words: tuple[str, ...], usage: str) -> None:
    lines = CliRunner().invoke(app, [*words, "--help"], prog_name="kras").stdout.splitlines()
    assert lines[0] == f"Usage: {usage}"
    named = [word.strip("[]") for word in usage.split("[OPTIONS] ")[1].split()]
    told = lines[lines.index("Arguments:") + 1 : lines.index("Options:")]
    assert [line.split()[0] for line in told if re.match(r"  \S", line)] == named
