"""`--verdict permutation` in a whole study: within histology and site, resumed after a kill, noted where it is void."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_study import quick

from kras_plugins import study
from kras_plugins.cohort.table import Patient
from kras_plugins.store import Store
from kras_plugins.study import verdict
from kras_plugins.study.notify import Silent


class Recording(Silent):
    """A Notify that keeps all notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str, trace: str = "") -> None:
        self.warnings.append(text)

    def step(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))


class Killed(BaseException):
    pass


def settings(tables: Path, store: Path, **given: Any) -> study.StudySettings:
    """The settings of a study whose refits take a moment."""
    chosen = {"folds": 2, "verdict": "permutation", "permutations": 19, **given}
    return quick(tables, store, **chosen).with_options("classifier.rf.trees=3")


def test_a_study_by_site_is_permuted_within_sites_and_ends_the_same_after_a_kill(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, drawn = settings(tables, tmp_path / "store", splits="site"), []
    true_fit = verdict.cross_validated

    def killed_in_the_fourth(session: Any, prepared: Any, cases: Any, labels: Any, *rest: Any, **more: Any) -> Any:
        drawn.append(labels)
        if len(drawn) == 4:
            raise Killed
        return true_fit(session, prepared, cases, labels, *rest, **more)

    monkeypatch.setattr(verdict, "cross_validated", killed_in_the_fourth)
    with pytest.raises(Killed):
        study.train(tables / "cohort.csv", chosen, out=tmp_path / "out")
    told = Recording()
    result = study.train(tables / "cohort.csv", chosen, out=tmp_path / "out", notify=told)
    found = result.metrics["verdict"]
    assert len(drawn) == 4 + 16  # three were done
    np.testing.assert_array_equal(drawn[3], drawn[4])
    assert found["within"] == ["histology", "site"]
    assert found["permutations"] == 19
    assert found["observed"] == result.metrics["models"]["ensemble"]["auroc"]["value"]
    # The six sites have one histology each, so labels stay within sites.
    patients = {p["patient_id"]: p["label"] for p in result.predictions.to_pylist()}
    sites = np.array([name.split("-")[1] for name in patients])
    true = np.array([*patients.values()])
    for labels in drawn:
        assert (labels != true).any()
        assert [labels[sites == s].sum() for s in np.unique(sites)] == [
            true[sites == s].sum() for s in np.unique(sites)
        ]
    assert any(note.startswith("15 more refits take ") for note in told.notes)
    steps = [step for step in told.steps if step[0].startswith("permutation")]
    assert steps[0] == ("permutation 4: rf, repeat 1, fold 1", 7, 38)
    assert steps[-1] == ("permutation 19: rf, repeat 1, fold 2", 38, 38)
    kinds = [entry.kind for entry in Store(tmp_path / "store").entries()]
    assert (kinds.count("fit"), kinds.count("permutation")) == (2, 19)
    # the report says it, in the words of the console
    assert "19 refits reach the observed AUROC" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["verdict"] == found


def test_the_time_that_is_left_is_said_in_minutes_or_hours() -> None:
    assert verdict.time_ahead(98, 98 * 7.3) == "98 more refits take about 12 min"
    assert verdict.time_ahead(50, 4 * 3600) == "50 more refits take about 4.0 h"
    assert verdict.time_ahead(1, 2) == "1 more refit takes less than a minute"


def test_a_study_without_it_has_no_such_entry(done: study.results.Training) -> None:
    assert "verdict" not in done.metrics


def test_where_labels_are_equal_in_every_stratum_nothing_is_refitted_and_the_reason_stands_there(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each positive has a histology of its own kind: permuting within histology changes nothing."""
    cohort = (tables / "cohort.csv").read_text().splitlines()
    rows = [row.split(",") for row in cohort[1:]]
    for row in rows:
        row[2] = "LUAD" if row[-1] == "1" else "large cell carcinoma"
    (tmp_path / "cohort.csv").write_text("\n".join([cohort[0], *map(",".join, rows)]) + "\n")
    monkeypatch.setattr(verdict, "cross_validated", None)
    told = Recording()
    chosen = settings(tables, tmp_path / "store")
    found = study.train(tmp_path / "cohort.csv", chosen, out=tmp_path / "out", notify=told).metrics["verdict"]
    assert (found["p"], found["permutations"], found["null_mean"]) == (None, 0, None)
    assert found["note"] == "within histology all labels are equal, so there is nothing to permute"
    assert f"no permutation test: {found['note']}" in told.warnings
    assert "No permutation test: within histology" in (tmp_path / "out" / "report.html").read_text()


def test_histologies_that_mean_the_same_are_one_group_and_an_unknown_site_is_a_patient_alone() -> None:
    people = [
        Patient(patient_id=name, label=0, slides=(), histology=histology, site=site)
        for name, histology, site in (("1", "LUAD", "A"), ("2", "Adenocarcinoma, NOS", "A"), ("3", "LUSC", "A"),
                                      ("4", "LUAD", ""), ("5", "LUAD", ""))
    ]  # fmt: skip
    histologies = verdict.exchangeable(people, np.ones(len(people), bool), by_site=False)
    meant = ["adenocarcinoma", "adenocarcinoma", "squamous", "adenocarcinoma", "adenocarcinoma"]
    assert histologies == [(histology, "True") for histology in meant]
    # Patients who are out of scope by their slides are exchanged only among each other.
    scope = np.array([True, False, True, True, True])
    assert len(set(verdict.exchangeable(people, scope, by_site=False))) == 3
    sites = verdict.exchangeable(people, np.ones(len(people), bool), by_site=True)
    assert sites[0] == sites[1]
    assert len(set(sites)) == 4
