"""No spreadsheet runs a cell of our tables, and what is read back is what was written."""

from __future__ import annotations

import ast
import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins import SlideRef
from kras_plugins.cohort.check import check_table
from kras_plugins.cohort.covariates import join_covariates
from kras_plugins.cohort.folds_file import FOLD_COLUMNS, read_folds
from kras_plugins.cohort.table import Patient, read_cohort
from kras_plugins.evaluation.histology import histology_auroc
from kras_plugins.files.spreadsheet import csv_text, guarded, plain, unguarded
from kras_plugins.probing.labelled import read_tiles
from kras_plugins.study.outputs import SetAside, read_failures, read_predictions, write_failures, write_table
from kras_profiler_import import ImportOptions
from kras_profiler_import.features import load_row

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(file for top in ("kras_plugins", "plugins", "examples") for file in (ROOT / top).rglob("*.py"))

FORMULAS = ["=1+1", "+SUM(A1)", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x", "＝1+1", "\n=1"]
PLAIN = ["a", "", "a=b", "'quoted'", "TCGA-05-4244", "-1", "+1.5e-3", "-.5", "12.", "'", "é", " =1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_stands_behind_an_apostrophe(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_any_other_text_and_a_number_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text
    assert unguarded(text) == text


texts = st.text(alphabet="=+-@\t\r\n'＝a1.e,\"; ", max_size=6)


@given(texts)
def test_what_is_written_is_what_is_read(text: str) -> None:
    assert unguarded(guarded(text)) == text


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5))
def test_arrow_reads_what_is_written(found: list[str]) -> None:
    table = pa.table({guarded("=name"): [guarded(text) for text in found], "n": list(range(len(found)))})
    back = plain(table)
    assert back.column_names == ["=name", "n"]
    assert back["=name"].to_pylist() == found


def test_numbers_are_no_texts() -> None:
    text = csv_text([{"id": "=x", "score": -0.25, "n": -3, "none": None, "=column": True}])
    assert list(csv.reader(io.StringIO(text))) == [
        ["id", "score", "n", "none", "'=column"],
        ["'=x", "-0.25", "-3", "", "True"],
    ]


def test_failures_keep_their_ids(tmp_path: Path) -> None:
    rows = [
        SetAside(slide_id=text, patient_id="@p", path="-x.svs", kind="SlideError", reason="=1+1", hint="+")
        for text in FORMULAS
    ]
    write_failures(tmp_path / "failures.csv", rows)
    with (tmp_path / "failures.csv").open(newline="") as f:
        assert all(cell.startswith("'") for row in list(csv.reader(f))[1:] for cell in row if cell != "SlideError")
    assert read_failures(tmp_path / "failures.csv") == tuple(rows)


def test_predictions_keep_their_ids_and_their_negative_numbers(tmp_path: Path) -> None:
    rows = [{"patient_id": "=p", "slides": "+s1;-s2", "label": 1, "ensemble": -0.5}]
    write_table(tmp_path / "predictions.csv", rows)
    text = (tmp_path / "predictions.csv").read_text()
    assert "'=p" in text and "'+s1" in text and ",-0.5" in text
    back = read_predictions(tmp_path / "predictions.csv").to_pylist()
    assert [row["patient_id"] for row in back] == ["=p"]
    assert [row["slides"] for row in back] == ["+s1;-s2"]
    assert [row["ensemble"] for row in back] == [-0.5]


COHORT = [
    {"patient_id": f"={i}a", "slide_id": f"@{i}", "path": f"-{i}.svs", "histology": "LUAD", "g12c": i % 2, "x": -i}
    for i in range(6)
]


def test_a_cohort_of_ours_is_read_with_its_ids(tmp_path: Path) -> None:
    write_table(tmp_path / "cohort.csv", COHORT)
    cohort = read_cohort(tmp_path / "cohort.csv", "g12c")
    assert [p.patient_id for p in cohort.patients] == [f"={i}a" for i in range(6)]
    assert [s.slide_id for p in cohort.patients for s in p.slides] == [f"@{i}" for i in range(6)]
    assert cohort.patients[3].slides[0].path == tmp_path / "-3.svs"
    assert cohort.patients[3].covariates == {"x": "-3"}


def test_folds_covariates_features_and_tiles_of_ours_are_read_with_their_ids(tmp_path: Path) -> None:
    ids = ["=a", "+b", "-c", "@d"]
    folds = [dict(zip(FOLD_COLUMNS, (1, 1 + i // 2, name), strict=True)) for i, name in enumerate(ids)]
    write_table(tmp_path / "folds.csv", folds)
    import numpy as np

    assert read_folds(tmp_path / "folds.csv", ids, np.array([0, 1, 0, 1])).tolist() == [[0, 0, 1, 1]]

    rows = [{"patient_id": name, "stage": "@II", "f": -float(i)} for i, name in enumerate(ids)]
    write_table(tmp_path / "more.csv", rows)
    (tmp_path / "more.csv.gz").write_bytes(gzip.compress((tmp_path / "more.csv").read_bytes(), mtime=0))
    for file in (tmp_path / "more.csv", tmp_path / "more.csv.gz"):
        joined, _ = join_covariates([Patient(patient_id="-c", slides=(), label=1)], file)
        assert joined[0].covariates["stage"] == "@II"
        slide = SlideRef(patient_id="-c", slide_id="s")
        assert load_row(slide, ImportOptions(table=(file,))).values.tolist() == [-2.0]

    for name in ("=1.png", "+2.png"):
        (tmp_path / name).touch()
    tiles = [{"file": "=1.png", "label": "=x", "group": "@1"}, {"file": "+2.png", "label": "-y", "group": "-2"}]
    write_table(tmp_path / "tiles.csv", tiles)
    found = read_tiles(tmp_path / "tiles.csv")
    assert [f.name for f in found.files] == ["=1.png", "+2.png"]
    assert (found.labels, found.groups) == (("=x", "-y"), ("@1", "-2"))


def test_the_check_of_a_cohort_warns_of_such_ids(tmp_path: Path) -> None:
    write_table(tmp_path / "cohort.csv", [*COHORT, {**COHORT[0], "patient_id": "p", "slide_id": "-7", "path": "p.svs"}])
    (found,) = [f for f in check_table(tmp_path / "cohort.csv", "g12c", 2, histology_auroc) if "formula" in f.what]
    assert found.severity == "warning"
    assert set(found.who) == {f"={i}a" for i in range(6)} | {f"@{i}" for i in range(6)}


def test_every_table_is_written_by_the_one_writer() -> None:
    others = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            whose = ast.unparse(node.value) if isinstance(node, ast.Attribute) else ""
            writes = name in {"DictWriter", "to_csv", "write_csv", "CSVWriter", "savetxt"}
            if writes or (name == "writer" and whose == "csv"):
                others.append(file.relative_to(ROOT).as_posix())
    assert others == ["kras_plugins/files/spreadsheet.py"]
