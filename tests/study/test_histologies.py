"""The user's meanings of words for a histology apply wherever a histology counts, and belong to the study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cohorts import kras, read_rows, write_rows
from quick_study import quick

from kras_plugins import study
from kras_plugins.errors import ConfigError
from kras_plugins.study import StudySettings
from kras_plugins.study.notify import Silent
from kras_plugins.study.results import Training

MINE = {"Typ A": "adenocarcinoma", "TYP B": "squamous"}


@pytest.fixture(scope="module")
def strange(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort of the tables with words that nobody else knows."""
    folder = tmp_path_factory.mktemp("strange")
    rows = read_rows(tables / "cohort.csv")
    for row in rows:
        row["histology"] = {"LUAD": "typ a", "LUSC": "typ b"}[row["histology"]]
    write_rows(folder / "cohort.csv", rows)
    return folder


def settings(tables: Path, done: Training, **given: object) -> StudySettings:
    return quick(tables, done.folder.parent / "store", **given)


FROZEN = "2 of 42 patients: frozen section (column preservation)"


class Heard(Silent):
    """Keeps the warnings of a study."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str, trace: str = "") -> None:
        self.warned.append(text)


def more(folder: Path) -> Path:
    """A table of covariates with two frozen specimens."""
    rows = read_rows(folder / "cohort.csv")
    patients = [row["patient_id"] for row in rows]
    told = [{"patient_id": p, "preservation": "FFPE" if i > 1 else "frozen"} for i, p in enumerate(patients)]
    write_rows(folder / "more.csv", told)
    return folder / "more.csv"


def test_a_training_warns_of_specimens_that_a_table_of_covariates_states(
    strange: Path, tables: Path, done: Training
) -> None:
    heard = Heard()
    study.plan(strange / "cohort.csv", settings(tables, done, covariates=more(strange)), notify=heard)
    assert [text for text in heard.warned if FROZEN in text]


def test_a_training_is_that_of_a_cohort_with_words_that_everybody_knows(
    strange: Path, tables: Path, done: Training
) -> None:
    mine = settings(tables, done, histologies=MINE)
    found = study.train(strange / "cohort.csv", mine, out=strange / "out")
    for of in ("models", "luad_only", "comparisons", "subgroups", "probes"):
        said = json.dumps(done.metrics[of]).replace("LUAD", "adenocarcinoma").replace("LUSC", "squamous")
        assert json.dumps(found.metrics[of]) == said
    assert found.metrics["luad_only"]
    assert any("histology 'typ b' is squamous, by your settings" in note for note in found.metrics["notes"])
    assert study.train(strange / "cohort.csv", mine, out=strange / "out").done_before
    other = mine.having(histologies={**MINE, "TYP B": "large cell"})
    with pytest.raises(ConfigError, match=r"histologies\.typ b: squamous there, large cell now"):
        study.train(strange / "cohort.csv", other, out=strange / "out")


def test_a_bundle_heeds_the_words_of_the_cohort_it_is_applied_to(strange: Path, tables: Path, done: Training) -> None:
    squamous = {row["patient_id"] for row in read_rows(tables / "cohort.csv") if row["histology"] == "LUSC"}
    mine, heard = settings(tables, done, histologies=MINE, covariates=more(strange)), Heard()
    found = study.validate(done.bundle, strange / "cohort.csv", mine, out=strange / "ext", notify=heard)
    assert [text for text in heard.warned if FROZEN in text]
    assert [note for note in found.metrics["notes"] if FROZEN in note and "They stay in." in note]
    study.score(done.bundle, strange / "cohort.csv", mine, out=strange / "scores")
    for folder in ("ext", "scores"):
        rows = read_rows(strange / folder / "predictions.csv")
        assert {row["patient_id"] for row in rows if row["reason"] == "out of scope: squamous"} == squamous
    (call,) = json.loads((strange / "scores/manifest.json").read_text())["calls"]
    assert call["config"]["histologies"] and "histology only: no profiler gave" in call["scope"]
    with pytest.raises(ConfigError, match=r"another study: histologies\.typ a"):
        study.validate(done.bundle, strange / "cohort.csv", settings(tables, done), out=strange / "ext")


def test_check_and_split_read_the_words_of_the_settings_file(strange: Path) -> None:
    (strange / "kras.toml").write_text("[run.histologies]\n" + "".join(f"'{w}' = '{m}'\n" for w, m in MINE.items()))
    ran = kras("cohort", "check", "cohort.csv", "--no-slides", "--json", cwd=strange, store=strange / "store")
    told = [f["what"] for f in json.loads(ran.stdout)["findings"]]
    assert any("is adenocarcinoma (yours)" in what and "is squamous (yours)" in what for what in told)
    ran = kras("cohort", "split", "cohort.csv", "--folds", "3", "--json", cwd=strange, store=strange / "store")
    assert any("by your settings" in warning for warning in json.loads(ran.stdout)["warnings"])
