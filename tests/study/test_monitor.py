"""Monitoring from a bundle and folders of results: what is read, who counts, what is reported and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cohorts import draw_tables, read_rows, write_rows
from monitored import LATER, bundle, facts, people, predictions

from kras_plugins import study
from kras_plugins.errors import ConfigError, StoreError, UsageError
from kras_plugins.study.arrivals import Row, add_rows, fold_of
from kras_plugins.study.arrivals import read_rows as read_watched
from kras_plugins.study.monitor_inputs import read_reference
from kras_plugins.study.results import Training


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bundle, and its digest."""
    folder = tmp_path_factory.mktemp("bundle")
    return folder, bundle(folder, facts(people(np.random.default_rng(0), 200)))


def labels_of(file: Path, arrivals: list) -> Path:  # type: ignore[type-arg]
    write_rows(file, [{"patient_id": a.patient_id, "g12c": str(int(a.label))} for a in arrivals])
    return file


def test_without_drift_nothing_is_found_and_who_was_compared_is_said(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, digest = made
    rng = np.random.default_rng(1)
    first, second = people(rng, 60), people(rng, 60, 60)
    again = [replace(first[8], when=second[-1].when), *second]
    one = predictions(tmp_path / "one", digest, first, in_training=5)
    write_rows(one / "predictions.csv", [{"patient_id": name} for name in ("p7", "long ago")])
    two = predictions(tmp_path / "two", digest, again)
    labels = labels_of(tmp_path / "labels.csv", first[:40])
    found = study.monitor(folder, [two, one], labels=labels, window=50, now=LATER)
    assert found.drift == ()
    assert found.verdict.startswith("No drift found (115 patients, 2 looks; chance of any false alarm at most 5%)")
    new, known = [*first[5:], *second], first[5:40]
    assert found.result["patients"] == {
        "n": 115, "assessable": sum(a.in_scope for a in new), "labeled": 35,
        "labeled_assessable": sum(a.in_scope for a in known), "positive": sum(bool(a.label) for a in known),
        "training": 200, "in_training": 5, "again": 1, "other_days": 0, "not_recorded": 1,
    }  # fmt: skip
    assert [row["model"] for row in found.result["performance"]] == ["ensemble", "histology_only"]
    assert json.dumps(found.result, allow_nan=False)


def test_planted_drift_is_named_with_the_window_where_it_was_first_seen(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, digest = made
    rng = np.random.default_rng(2)
    new = [*people(rng, 50), *people(rng, 50, 50, stain=2.0)]
    found = study.monitor(folder, predictions(tmp_path / "p", digest, new), window=50, out=tmp_path / "out", now=LATER)
    assert found.drift == ("stain",)
    assert found.verdict.startswith("Drift found in stain (since patients 51–100) (100 patients, 2 looks;")
    assert json.loads((tmp_path / "out/monitor.json").read_text()) == found.result
    assert "Ask the laboratory" in (tmp_path / "out/monitor.html").read_text()
    days = study.monitor(folder, tmp_path / "p", window=50, until="2026-01-02", now=LATER)
    assert days.verdict == "No window is full yet: 48 patients so far."
    assert days.result["patients"]["other_days"] == 52


def test_the_same_plan_runs_again_into_its_folder_and_another_does_not(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, digest = made
    own = predictions(tmp_path / "p", digest, people(np.random.default_rng(3), 30))
    for _ in range(2):
        study.monitor(folder, own, window=25, out=tmp_path / "out", now=LATER)
    with pytest.raises(ConfigError, match=r"contains monitor\.json of another plan"):
        study.monitor(folder, own, window=30, out=tmp_path / "out", now=LATER)
    study.monitor(folder, own, window=30, out=tmp_path / "out", overwrite=True, now=LATER)


def test_what_cannot_be_meant_is_refused_by_name(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, digest = made
    own = predictions(tmp_path / "p", digest, people(np.random.default_rng(4), 30))
    other = predictions(tmp_path / "q", "0" * 64, people(np.random.default_rng(4), 30))
    with pytest.raises(ConfigError, match="q was scored with another bundle: 000000000000, not"):
        study.monitor(folder, [own, other])
    (other / "manifest.json").write_text(json.dumps({"bundle_digest": digest}))
    (other / "monitor.csv").unlink()
    with pytest.raises(ConfigError, match=r"has no monitor\.csv: an earlier kras scored it"):
        study.monitor(folder, other)
    with pytest.raises(UsageError, match="not a folder of results"):
        study.monitor(folder, tmp_path)
    with pytest.raises(UsageError, match="not a bundle"):
        study.monitor(tmp_path, own)
    with pytest.raises(ConfigError, match="windows of 10 patients are smaller than 20"):
        study.monitor(folder, own, window=10)
    (own / "monitor.csv").write_text("patient_id\nx\n")
    with pytest.raises(ConfigError, match="damaged"):
        study.monitor(folder, own)


@pytest.mark.parametrize(
    ("text", "said"),
    [("patient_id\np1\n", "no column g12c"), ("patient_id,g12c\np1,maybe\n", "line 2: g12c is 'maybe'"),
     ("patient_id,g12c\np1,1\np1,0\n", "p1 has two labels"),
     ("patient_id,g12c,date\np1,1,soon\n", "date is 'soon'")],
)  # fmt: skip
def test_labels_that_cannot_be_read_are_refused_by_line(
    made: tuple[Path, str], tmp_path: Path, text: str, said: str
) -> None:
    own = predictions(tmp_path / "p", made[1], people(np.random.default_rng(5), 30))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        study.monitor(made[0], own, labels=tmp_path / "labels.csv")


def test_a_blank_label_is_unknown(made: tuple[Path, str], tmp_path: Path) -> None:
    own = predictions(tmp_path / "p", made[1], people(np.random.default_rng(6), 30))
    (tmp_path / "labels.csv").write_text("patient_id,g12c\np1,\np2,NA\np3,0\nstranger,1\n")
    found = study.monitor(made[0], own, labels=tmp_path / "labels.csv", now=LATER)
    assert (found.result["patients"]["labeled"], found.result["patients"]["positive"]) == (1, 0)


def test_a_bundle_of_before_says_that_nothing_can_be_compared(tmp_path: Path) -> None:
    stated = facts(people(np.random.default_rng(7), 100))
    del stated["reference"]
    digest = bundle(tmp_path / "bundle", stated)
    own = predictions(tmp_path / "p", digest, people(np.random.default_rng(7), 60))
    found = study.monitor(tmp_path / "bundle", own, window=30, out=tmp_path / "out", now=LATER)
    assert found.result["verdict"]["drift"] is None
    assert found.verdict.startswith("Nothing can be compared: the bundle was made before references")


@pytest.mark.parametrize(
    ("where", "value"),
    [("score", {"edges": [1.0, 0.0], "counts": [1, 1, 1], "missing": 0}), ("assessable", 10**6),
     ("features", {"z": {}}),
     ("stain", []), ("labels", {})],
)  # fmt: skip
def test_a_reference_that_says_what_none_says_is_refused(tmp_path: Path, where: str, value: object) -> None:
    stated = facts(people(np.random.default_rng(8), 100))
    stated["reference"][where] = value
    bundle(tmp_path, stated)
    with pytest.raises(StoreError, match=r"bundle refused: .*reference"):
        read_reference(tmp_path)


def test_rows_of_monitor_csv_are_what_was_written_and_patients_join(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    own = [replace(a, label=None, labeled="") for a in people(rng, 3)]
    odd = replace(own[0], patient_id="=1+1", stain=None, mpp=None, fold_score=None, features={"f9": 1.5}, scanner="")
    add_rows(tmp_path / "monitor.csv", [Row(arrival=a) for a in own])
    add_rows(tmp_path / "monitor.csv", [Row(arrival=odd, in_training=True), Row(arrival=replace(own[1], when="2027"))])
    back = read_watched(tmp_path / "monitor.csv")
    assert [row.arrival.patient_id for row in back] == ["p0", "p1", "p2", "=1+1"]
    assert back[1].arrival.when == "2027"
    assert back[3].in_training and back[3].arrival.stain is None and back[3].arrival.features["f9"] == 1.5
    assert np.isnan(back[3].arrival.features["f0"])
    assert {k: v for k, v in back[2].arrival.features.items() if k != "f9"} == own[2].features


def test_which_fold_judges_a_patient_depends_on_the_name_alone_and_all_are_used() -> None:
    folds = [fold_of(f"patient-{i}", 5) for i in range(1000)]
    assert folds == [fold_of(f"patient-{i}", 5) for i in range(1000)]
    assert min(np.bincount(folds)) > 150


def test_training_freezes_and_predict_writes_what_is_compared(done: Training, tables: Path, tmp_path: Path) -> None:
    draw_tables(tmp_path, patients=24, seed=5)
    names = {row["patient_id"]: f"new-{i}" for i, row in enumerate(read_rows(tmp_path / "cohort.csv"))}
    rows = [row | {"patient_id": names[row["patient_id"]]} for row in read_rows(tmp_path / "cohort.csv")]
    write_rows(tmp_path / "cohort.csv", rows)
    settings = study.StudySettings(cache=tmp_path / "store", workers=1)
    settings = settings.with_tables([tmp_path / "LUAD.csv", tmp_path / "LUSC.csv"])
    study.score(done.bundle, tmp_path / "cohort.csv", settings, out=tmp_path / "out")
    kept = read_reference(done.bundle).facts["reference"]
    assert (kept["n"], kept["assessable"], kept["labels"]["n"]) == (42, 21, 21)
    assert sum(kept["score"]["counts"]) == 21, "out-of-fold scores of those in scope"
    written = [row.arrival for row in read_watched(tmp_path / "out/monitor.csv")]
    assert sum(a.in_scope for a in written) == 12
    assert all((a.fold_score is None) != a.in_scope or a.fold_score is not None for a in written)
    assert len({a.fold_score == a.score for a in written}) >= 1 and any(a.fold_score != a.score for a in written)
    found = study.monitor(done.bundle, tmp_path / "out", labels=tmp_path / "cohort.csv", window=24)
    assert "no slide was opened" in found.result["not_compared"]["stain"]
    assert found.result["patients"]["labeled"] == 24
