"""The help of every command says all that was written for it, brackets too: defaults stand in them."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from kras_plugins.cli.app import app


@pytest.mark.parametrize(
    "words",
    [("run",), ("evaluate",), ("predict",), ("cohort", "labels"), ("cohort", "check"), ("cohort", "split"), ("embed",)],
    ids=" ".join,
)
def test_no_word_of_the_help_is_lost(words: tuple[str, ...]) -> None:
    shown = "".join(CliRunner().invoke(app, [*words, "--help"]).output.split())
    found = typer.main.get_command(app)
    for word in words:
        found = found.commands[word]
    for parameter in found.params:
        assert "".join((parameter.help or "").split()) in shown
