"""The examples of public functions run, and each has the sections that a reader looks for."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohorts import write_rows

from kras_plugins import study
from kras_plugins.study.results import StudyResult
from kras_plugins.testing import draw_slide

VERBS = (
    study.train, study.validate, study.score, study.monitor, study.embed, study.profile, study.features, study.plan,
)  # fmt: skip
OTHERS = (study.StudySettings, study.bars, study.read_training, StudyResult.auroc, StudyResult.roc)
NEEDED = {
    **dict.fromkeys((study.validate, study.score, *OTHERS[2:]), ("results", study.train)),
    study.monitor: ("scores", study.score),
}
"""Which folder an example needs, and the function whose example makes it."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples name: two cohorts, a table of features, a folder of slides."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    label = [int(i % 5 < 2) for i in range(40)]
    who = [{"patient_id": f"P{i:02d}", "slide_id": f"P{i:02d}"} for i in range(40)]
    rows = [
        {**w, "histology": "LUAD" if y else ("LUAD", "LUSC")[i % 2], "site": f"{i % 5}", "g12c": str(y)}
        for i, (w, y) in enumerate(zip(who, label, strict=True))
    ]
    write_rows(folder / "cohort.csv", rows)
    write_rows(folder / "other.csv", rows[:10])
    values = rng.normal(size=(40, 5)) + np.outer(label, [2, 1, 0, 0, 0])
    features = [{f"f{k}": f"{v:.4f}" for k, v in enumerate(row)} for row in values]
    write_rows(folder / "features.csv", [{"case": w["patient_id"], **f} for w, f in zip(who, features, strict=True)])
    (folder / "slides").mkdir()
    draw_slide(folder / "slides/one.tiff", seed=1, size_um=(512.0, 512.0))
    return folder


@pytest.mark.parametrize("function", [*OTHERS, *VERBS], ids=lambda f: f.__name__)
def test_the_example_runs(function: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    folder, maker = NEEDED.get(function, ("", None))
    if maker is not None and not (home / folder).exists():
        test_the_example_runs(maker, home, monkeypatch)
    (test,) = doctest.DocTestFinder(recurse=False).find(function, function.__name__)
    assert test.examples
    said: list[str] = []
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("verb", VERBS, ids=lambda f: f.__name__)
def test_a_verb_has_every_section_and_names_every_parameter(verb: Callable[..., Any]) -> None:
    text = inspect.getdoc(verb) or ""
    parts = {
        head: text.split(f"{head}:\n")[1].split("\n\n")[0] for head in ("Parameters", "Returns", "Raises", "Example")
    }
    for name in inspect.signature(verb).parameters:
        assert name in parts["Parameters"], f"{verb.__name__}: {name}"
