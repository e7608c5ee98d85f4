"""`kras monitor` on the command line: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from monitored import bundle, facts, people, predictions
from typer.testing import CliRunner

from kras_plugins.cli.app import app


@pytest.mark.parametrize(("shift", "code", "said"), [(0.0, 0, "No drift found"), (2.0, 4, "Drift found in stain")])
def test_it_ends_with_4_where_it_found_drift_and_says_so(tmp_path: Path, shift: float, code: int, said: str) -> None:
    rng = np.random.default_rng(0)
    digest = bundle(tmp_path / "bundle", facts(people(rng, 200)))
    own = predictions(tmp_path / "p", digest, people(rng, 60, stain=shift))
    words = ["monitor", str(tmp_path / "bundle"), str(own), "--window", "50"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == code, done.output
    assert done.stdout.startswith(said)
    assert "Stain: drift" in done.stdout if shift else "Stain: no drift found" in done.stdout
    printed = CliRunner().invoke(app, [*words, "--json"])
    assert printed.exit_code == code
    assert json.loads(printed.stdout)["verdict"]["drift"] is bool(shift)


def test_a_window_that_cannot_be_meant_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["monitor", str(tmp_path), str(tmp_path), "--window", "fortnight"])
    assert done.exit_code == 2
    assert "neither a number nor a period" in done.output
