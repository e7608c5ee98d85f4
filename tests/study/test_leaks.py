"""What would reveal the label without any tissue is found before anything learns from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cohorts import draw_tables, read_rows, write_rows
from quick_study import quick
from typer.testing import CliRunner

from kras_plugins.cli.app import app
from kras_plugins.data import Bag, Sample, TileSpec
from kras_plugins.errors import ConfigError
from kras_plugins.study import train
from kras_plugins.study.leaks import check_leaks
from kras_plugins.study.results import Training

ENDS = {"LUAD.csv": "_HE", "LUSC.csv": "_FFPE"}
"""What the names of features end with in each table."""


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    draw_tables(tmp_path, patients=60)
    return tmp_path


def with_score(folder: Path, score: Callable[[str], str]) -> None:
    """One more feature, made from the label."""
    labels = {row["patient_id"]: row["g12c"] for row in read_rows(folder / "cohort.csv")}
    for name, end in ENDS.items():
        rows = read_rows(folder / name)
        for row in rows:
            row[f"score{end}"] = score(labels[row["case"]])
        write_rows(folder / name, rows)


def patient(name: str, *slides: dict[str, Any]) -> Any:
    """A case with what the search for leaks looks at."""
    blank = {"fingerprint": "", "keys": (), "qc": None, "profile": None}
    return SimpleNamespace(
        patient=SimpleNamespace(patient_id=name, label=0),
        sample=Sample(patient_id=name),
        results=[SimpleNamespace(**{**blank, **slide}) for slide in slides],
    )


def run(folder: Path) -> Training:
    return train(folder / "cohort.csv", quick(folder, folder / "store"), out=folder / "out")


def test_the_same_row_of_features_under_two_patients_is_told(drawn: Path) -> None:
    rows = read_rows(drawn / "LUAD.csv")
    copied = {**rows[0], "case": rows[3]["case"], "CASE_ID": rows[3]["CASE_ID"]}
    write_rows(drawn / "LUAD.csv", [copied if i == 3 else row for i, row in enumerate(rows)])
    told = (
        f"Leak: different patients have the same slide or the same features: {rows[0]['case']} and {rows[3]['case']}. "
    )
    assert [note for note in run(drawn).metrics["notes"] if note.startswith(told)]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"fingerprint": "a", "qc": True}, {"fingerprint": "a", "qc": True}, True),
        ({"keys": ("bag",)}, {"keys": ("bag",)}, True),
        ({"fingerprint": "a", "qc": True}, {"fingerprint": "b", "qc": True}, False),
        ({"keys": ("bag",)}, {"keys": ("other",)}, False),
    ],
)
def test_the_same_slide_or_bag_under_two_patients_is_told(first: Any, second: Any, same: bool) -> None:
    cases = [patient("A", {"keys": ("own",)}, first), patient("B", second)]
    assert [("the same features: A and B. " in note) for note in check_leaks(cases, "g12c")] == [True] * same


@pytest.mark.parametrize(("positive", "negative"), [("1", "0"), ("0", "1"), ("7.5", "-2")])
def test_a_feature_that_is_the_label_under_another_name_is_refused(drawn: Path, positive: str, negative: str) -> None:
    with_score(drawn, lambda label: positive if label == "1" else negative)
    with pytest.raises(ConfigError, match=r"features that are the label g12c itself: score"):
        run(drawn)


def test_a_feature_that_nearly_is_the_label_is_noted_in_the_results(drawn: Path) -> None:
    counter = iter(range(1000))
    with_score(drawn, lambda label: f"{10 * int(label) + next(counter) / 100:.2f}")
    (leak,) = [note for note in run(drawn).metrics["notes"] if note.startswith("Possible leak: feature score")]
    assert "AUROC 1.000 for g12c" in leak


def test_sound_tables_and_rows_of_a_few_indicators_that_are_equal_by_chance_pass(drawn: Path) -> None:
    assert not [note for note in run(drawn).metrics["notes"] if "leak" in note]
    shutil.rmtree(drawn / "out")
    for name, end in ENDS.items():
        rows = read_rows(drawn / name)
        for i, row in enumerate(rows):
            for column in [c for c in row if c.startswith(("DENSITY", "RARE"))]:
                del row[column]
            row |= {f"flag_a{end}": str(i % 2), f"flag_b{end}": str(i % 3)}
        write_rows(drawn / name, rows)
    assert not [note for note in run(drawn).metrics["notes"] if "leak" in note]


def test_what_the_table_gives_away_is_told_before_training_and_in_the_results(drawn: Path) -> None:
    rows = sorted(read_rows(drawn / "cohort.csv"), key=lambda row: row["g12c"])
    rows[1]["patient_id"] = rows[0]["patient_id"].lower()
    write_rows(drawn / "cohort.csv", rows)
    notes = [note for note in run(drawn).metrics["notes"] if "eak: " in note]
    name = rows[0]["patient_id"]
    assert notes[0].startswith(f"Leak: one patient under several ids could lie on both sides of a split: {name} and ")
    assert notes[1].startswith("Possible leak: the rows are sorted by g12c: ids, file names or times of such a list")


def test_the_same_bag_in_files_that_differ_is_told() -> None:
    rng = np.random.default_rng(0)
    bags = [
        Bag(
            slide_id=name, features=features, xy=np.zeros((9, 2), np.int32), size=(1.0, 1.0),
            tile_spec=TileSpec(px=224, mpp=0.5), encoder="e", transform_hash="t",
        )
        for name, features in zip("abc", rng.random((2, 9, 4), np.float32)[[0, 0, 1]], strict=True)
    ]  # fmt: skip
    cases = [patient(bag.slide_id.upper(), {"keys": (f"file {bag.slide_id}",)}) for bag in bags]
    for case, bag in zip(cases, bags, strict=True):
        case.sample = Sample(patient_id=case.patient.patient_id, bags=(bag,))
    assert [("the same features: A and B. " in note) for note in check_leaks(cases, "g12c")] == [True]


def test_a_feature_that_is_missing_in_one_class_alone_is_the_label(drawn: Path) -> None:
    counter = iter(range(1000))
    with_score(drawn, lambda label: "" if label == "0" else f"{next(counter) % 13}")
    with pytest.raises(ConfigError, match=r"features that are the label g12c itself: score \(whether it is missing\)"):
        run(drawn)


def test_cohort_check_finds_in_tables_of_features_what_a_run_would(drawn: Path) -> None:
    tables = [f"--profile-table={drawn / name}" for name in ENDS]

    def check() -> tuple[int, list[tuple[str, str]]]:
        words = ["cohort", "check", str(drawn / "cohort.csv"), "--no-slides", "--folds=3", "--json", *tables]
        ran = CliRunner().invoke(app, words)
        found = json.loads(ran.stdout)["findings"]
        return ran.exit_code, [
            (one["severity"], one["what"]) for one in found if "eak: " in one["what"] or "itself" in one["what"]
        ]

    assert check() == (0, [])
    rows = read_rows(drawn / "LUAD.csv")
    copied = {**rows[0], "case": rows[3]["case"], "CASE_ID": rows[3]["CASE_ID"]}
    write_rows(drawn / "LUAD.csv", [copied if i == 3 else row for i, row in enumerate(rows)])
    code, ((severity, what),) = check()
    assert (code, severity) == (1, "error")
    assert f"the same features: {rows[0]['case']} and {rows[3]['case']}. " in what
    with_score(drawn, lambda label: label)
    code, ((severity, what),) = check()
    assert (code, severity, what) == (1, "error", "features that are the label g12c itself: score")
