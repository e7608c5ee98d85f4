"""Folds in a file come back as they were, and a file that would leak is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kras_plugins import ConfigError
from kras_plugins.cohort.folds_file import FOLD_COLUMNS, describe_folds, fold_rows, keeps_sites, read_folds
from kras_plugins.study.outputs import write_table

IDS = [f"p{i}" for i in range(6)]
LABELS = np.array([1, 0, 1, 0, 1, 0], np.int8)
FOLD = np.array([[0, 0, 1, 1, 2, 2], [2, 2, 1, 1, 0, 0]])


def write(folder: Path, text: str) -> Path:
    file = folder / "folds.csv"
    file.write_text("repeat,fold,patient_id\n" + text)
    return file


def test_folds_come_back_for_the_patients_asked_for_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "folds.csv"
    write_table(file, fold_rows(FOLD, IDS), FOLD_COLUMNS)
    np.testing.assert_array_equal(read_folds(file, IDS, LABELS), FOLD)
    order = [5, 0, 3, 2, 1, 4]
    np.testing.assert_array_equal(read_folds(file, [IDS[i] for i in order], LABELS[order]), FOLD[:, order])


def test_a_patient_on_both_sides_of_a_split_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "1,1,p0\n1,2,p1\n1,2,p0\n")
    with pytest.raises(ConfigError, match="line 4: patient p0 is in folds 1 and 2 of repeat 1"):
        read_folds(file, ["p0", "p1"], LABELS[:2])


def test_a_patient_twice_in_one_fold_is_harmless(tmp_path: Path) -> None:
    file = write(tmp_path, "1,1,p0\n1,1,p0\n1,1,p1\n1,2,p2\n1,2,p3\n")
    np.testing.assert_array_equal(read_folds(file, IDS[:4], LABELS[:4]), [[0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,p0\n1,1,p1\n1,2,p2\n", r"1 patients of the cohort have no fold in repeat 1 \(p3"),
        ("1,1,p0\n1,2,p1\n1,1,p2\n1,2,p3\n", "fold 1 of repeat 1 has no negative"),
        ("1,1,p0\n1,1,p1\n1,1,p2\n1,1,p3\n", "has 1 folds"),
        ("1,0,p0\n", "line 2: repeat and fold must be 1, 2, 3"),
        ("1,a,p0\n", "line 2: repeat and fold must be 1, 2, 3"),
        ("1,1,p0\n1,²,p1\n", "line 3: repeat and fold must be 1, 2, 3 …, fold is '²'"),
        ("１,1,p0\n", "line 2: repeat and fold must be 1, 2, 3 …, repeat is '１'"),
        ("1_0,1,p0\n", "line 2: repeat and fold must be 1, 2, 3 …, repeat is '1_0'"),
        (f"1,{'9' * 5000},p0\n", "line 2: repeat and fold must be 1, 2, 3 …, fold is '9{40}…'"),
        ("2,1,p0\n2,2,p1\n", "no fold in repeat 1"),
        ("1000000000000,1,p0\n", "repeat 1000000000000, but only 1 rows"),  # and no memory for them
        ("", "a header but no rows"),
    ],
)
def test_files_that_are_no_partition_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_folds(write(tmp_path, text), IDS[:4], LABELS[:4])


def test_the_case_of_a_fold_of_five_hundred_digits(shared_data: Path) -> None:
    file = shared_data.parent / "cases" / "tables" / "superscript_folds.csv"
    if not file.is_file():
        pytest.skip(f"no {file}")
    with pytest.raises(ConfigError, match=r"superscript_folds\.csv, line 7: repeat and fold must be .* fold is '9"):
        read_folds(file, IDS, LABELS)


def test_another_kind_of_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("patient_id,split\np0,1\n")
    with pytest.raises(ConfigError, match="lacks repeat, fold; it has patient_id, split"):
        read_folds(tmp_path / "x.csv", IDS, LABELS)


def test_folds_are_described_by_what_they_hold() -> None:
    strata, sites = ["LUAD"] * 4 + ["LUSC"] * 2, ["a", "a", "b", "b", "b", ""]
    first, second, third = describe_folds(FOLD[:1], LABELS, strata, sites)
    assert (first["n"], first["n_positive"], first["sites"], first["sites_shared"]) == (2, 1, 1, 0)
    assert (second["sites"], second["sites_shared"]) == (1, 1)
    assert third["strata"] == {"LUAD": {"n": 0, "n_positive": 0}, "LUSC": {"n": 2, "n_positive": 1}}
    assert third["sites"] == 1  # an unknown site is none


@given(st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_sites_are_kept_where_none_is_in_two_folds(fold: list[int]) -> None:
    sites = ["a", "a", "b", "b", "c", "c"]
    kept = fold[0] == fold[1] and fold[2] == fold[3] and fold[4] == fold[5]
    assert keeps_sites(np.array([fold]), sites) == kept
    assert not keeps_sites(np.array([fold]), ["", *sites[1:]])
