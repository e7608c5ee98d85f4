"""A study in a notebook: it runs there, with a bar, and its results are tables."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tqdm.std import tqdm

from kras_plugins import study
from kras_plugins.errors import SlideError

CELLS = (
    "from pathlib import Path\nfrom kras_plugins import study\n"
    "home = Path({home!r})\n"
    "settings = study.StudySettings(classifiers=('rf',), folds=3, workers=1, cache=home / 'store')\n"
    "settings = settings.with_tables([{tables!r} + '/LUAD.csv', {tables!r} + '/LUSC.csv'])\n"
    "settings = settings.with_options('classifier.rf.trees=20')",
    "result = study.train(Path({tables!r}) / 'cohort.csv', settings, out=home / 'out', notify=study.bars())",
    "result.auroc()",
    "result.predictions.to_pandas()[['patient_id', 'rf', 'call']].head(3)",
)


def test_a_study_runs_in_a_notebook_with_a_bar(tables: Path, tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(text.format(home=str(tmp_path), tables=str(tables))) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    _, trained, area, table = (cell["outputs"] for cell in notebook.cells)
    shown = str(trained)
    assert "application/vnd.jupyter.widget-view+json" in shown, "a bar of the notebook's own"
    assert "columns are ignored" in shown
    assert "n=21" in str(area)
    assert "patient_id" in table[0]["data"]["text/html"]


def test_bars_count_slides_and_steps_and_say_what_was_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()

    class Bar(tqdm):
        def __init__(self, **given: object) -> None:
            super().__init__(file=said, mininterval=0, **given)

        @classmethod
        def write(cls, text: str, **_: object) -> None:
            said.write(text)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    bars = study.bars()
    bars.begin(2)
    bars.tiles("s1", "embed", 5, 10)
    bars.finished("s1", None)
    bars.finished("s2", SlideError("blank", "scan it again"))
    bars.step("learning rf, repeat 1", 1, 1)
    text = said.getvalue()
    assert "slides" in text and "2/2" in text and "1/1" in text
    assert "warning: set aside s2: blank (scan it again)" in text
