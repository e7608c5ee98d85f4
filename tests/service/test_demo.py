"""`kras serve --demo` shows scores as patients have them, and makes its bundle once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cohorts import read_rows
from networks import lay_networks

from kras_plugins import study
from kras_plugins.service.demo import CASES, Demo, prepared

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    lay_networks(folder / "store")
    return folder


@pytest.fixture(scope="module")
def demo(home: Path) -> Demo:
    return prepared(home)


def test_its_cases_have_scores_as_patients_have_them(demo: Demo) -> None:
    """Most of them between 0.1 and 0.9, apart from each other, and not all with one call."""
    settings = study.StudySettings(workers=1, cache=demo.folder / "store")
    scored = study.score(demo.bundle, demo.folder / "slides/cohort.csv", settings, out=demo.folder / "scores")
    rows = [row for row in scored.predictions.to_pylist() if row["call"] != "not_assessable"]
    scores = [row["ensemble"] for row in rows]
    assert len(demo.slides) == scored.predictions.num_rows == CASES and len(rows) > CASES / 2
    assert sum(0.1 < score < 0.9 for score in scores) > 0.7 * len(rows), scores
    assert max(scores) - min(scores) > 0.1, scores
    assert len({row["call"] for row in rows}) > 1, rows
    labels = {row["patient_id"]: int(row["g12c"]) for row in read_rows(demo.folder / "slides/cohort.csv")}
    of = {label: [row["ensemble"] for row in rows if labels[row["patient_id"]] == label] for label in (0, 1)}
    assert sum(of[1]) / len(of[1]) > sum(of[0]) / len(of[0]), "what was planted is found"


def test_a_second_start_trains_nothing(demo: Demo, home: Path) -> None:
    finished = home / "study/manifest.json"
    before = finished.stat().st_mtime_ns
    assert prepared(home) == demo
    assert finished.stat().st_mtime_ns == before


class Heard(Exception):
    """What a demonstration begins to do."""


class Stop(study.Silent):
    """Ends the call with what is said after the first note, which is always the same."""

    def __init__(self) -> None:
        self.notes = 0

    def note(self, text: str) -> None:
        self.notes += 1
        if self.notes > 1:
            raise Heard(text)


def test_a_bundle_of_another_cohort_is_made_again(demo: Demo, home: Path) -> None:
    """As an earlier kras drew it, with another signal: its record is written anew, and is younger than the study."""
    os.utime(home / "study/study.json", (1, 1))
    with pytest.raises(Heard, match="made by another version of kras"):
        prepared(home, Stop())
