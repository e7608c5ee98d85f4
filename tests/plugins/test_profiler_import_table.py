"""Tables of finished features, with the traps of the real ones."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kras_plugins.data import SemanticProfile, SlideRef
from kras_plugins.errors import ConfigError, SlideError
from kras_plugins.host.notes import noted
from kras_profiler_import import kras_profilers

(IMPORT,) = kras_profilers()
COLUMNS = ("CASE_ID", "case", "os", "os_time", "num_mutations", "race", "DENSITY OF [L]_HE", "AREA OF [T]_HE", "site")
ROWS = (
    ("101", "TCGA-05-4244", "1", "300", "50", "WHITE", "1.5", "2", "05"),
    ("102", "TCGA-05-4244", "1", "300", "50", "WHITE", "2.5", "", "05"),
    ("103", "TCGA-44-1234", "0", "", "70", "[Not Available]", "4", "8", "44"),
)


def write(file: Path, columns: Sequence[str] = COLUMNS, rows: Sequence[Sequence[str]] = ROWS) -> Path:
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "wt", newline="", encoding="utf-8-sig") as f:
        writer = csv.writer(f)
        writer.writerows([columns, *rows])
    return file


def load(table: object, slide_id: str = "102", patient_id: str = "P", **options: object) -> Mapping[str, float]:
    found = profile(table, slide_id, patient_id, **options)
    return dict(zip(found.names, found.values.tolist(), strict=True))


def profile(table: object, slide_id: str, patient_id: str = "P", **options: object) -> SemanticProfile:
    assert IMPORT.load is not None
    slide = SlideRef(patient_id=patient_id, slide_id=slide_id)
    told = str(table) if isinstance(table, Path) else table
    found = IMPORT.load(slide, IMPORT.options.model_validate({"table": told, **options}))
    assert isinstance(found, SemanticProfile)
    return found


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_a_slide_has_its_row_and_only_marked_columns_are_features(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        texts = {c: [row[i] for row in ROWS] for i, c in enumerate(COLUMNS)}
        numbers = {c: [float(v) if v else None for v in texts[c]] for c in COLUMNS[6:8]}
        pq.write_table(pa.table({**texts, **numbers}), tmp_path / name)
    else:
        write(tmp_path / name)
    with noted(lambda _: None) as notes:
        found = load(tmp_path / name)
    assert found["DENSITY OF [L]"] == 2.5 and np.isnan(found["AREA OF [T]"])
    assert list(found) == ["DENSITY OF [L]", "AREA OF [T]"]
    (ignored,) = [note for note in notes if "7 columns are ignored: " in note]
    assert all(column in ignored for column in COLUMNS[:6])


def test_a_patient_has_the_mean_of_its_rows(tmp_path: Path) -> None:
    found = profile(write(tmp_path / "t.csv"), "TCGA-05-4244-01Z-00-DX1", "TCGA-05-4244")
    assert found.values.tolist() == [2.0, 2.0]  # 1.5 and 2.5; 2 and missing
    assert found.id == "TCGA-05-4244"


@pytest.mark.parametrize("patient", ["TCGA-44-1234", "TCGA-44-1234-01", "other"])
def test_tcga_barcodes_of_any_length_find_their_patient(tmp_path: Path, patient: str) -> None:
    file = write(tmp_path / "t.csv")
    assert load(file, "TCGA-44-1234-01Z-00-DX1.6D", patient)["DENSITY OF [L]"] == 4
    longer = [[v.replace("TCGA-44-1234", "TCGA-44-1234-01A") for v in row] for row in ROWS]
    assert load(write(tmp_path / "u.csv", rows=longer), "TCGA-44-1234", patient)["DENSITY OF [L]"] == 4


def test_strata_that_differ_by_an_ending_share_their_features(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv")
    two = write(
        tmp_path / "b.csv",
        ("FFPE_ID", "os", "DENSITY OF [L]_FFPE", "AREA OF [T]_FFPE", "ONLY HERE_FFPE"),
        [("9", "1", "7", "8", "9")],
    )
    for table in (f"{one},{two}", [str(one), str(two)]):
        assert load(table, "9") == {"DENSITY OF [L]": 7, "AREA OF [T]": 8}
        assert load(table, "103") == {"DENSITY OF [L]": 4, "AREA OF [T]": 8}


def test_a_merged_table_of_two_strata_is_folded_together(tmp_path: Path) -> None:
    rows = [("1", "5", "", "1"), ("2", "", "6", "0")]
    file = write(tmp_path / "t.csv", ("slide_id", "X_HE", "X_FFPE", "os"), rows)
    assert (load(file, "1"), load(file, "2")) == ({"X": 5}, {"X": 6})
    twice = write(tmp_path / "u.csv", ("slide_id", "X_HE", "X_FFPE"), [("1", "5", "6")])
    with pytest.raises(ConfigError, match="twice in a row"):
        load(twice, "1")


def test_endings_that_nobody_foresaw_are_suggested(tmp_path: Path) -> None:
    one = write(tmp_path / "a.csv", ("slide_id", "X_one", "Y_one"), [("1", "5", "6")])
    two = write(tmp_path / "b.csv", ("slide_id", "X_two", "Y_two"), [("2", "7", "8")])
    with pytest.raises(ConfigError, match="no feature columns are shared") as e:
        load(f"{one},{two}", "1")
    assert "suffixes=_one,_two" in e.value.hint
    assert load(f"{one},{two}", "2", suffixes="_one,_two") == {"X": 7, "Y": 8}


def test_clinical_columns_are_no_features_unless_they_are_named(tmp_path: Path) -> None:
    columns = ("slide_id", "os", "os_time", "age_at_diagnosis", "num_mutations", "g12c", "AVERAGE STAGER", "til")
    file = write(tmp_path / "t.csv", columns, [("a", "1", "2", "3", "4", "5", "6", "7")])
    assert load(file, "a") == {"AVERAGE STAGER": 6, "til": 7}
    assert load(file, "a", features="til,age*") == {"age_at_diagnosis": 3, "til": 7}
    assert load(write(tmp_path / "u.csv"), features="*_HE").keys() == {"DENSITY OF [L]", "AREA OF [T]"}


def test_our_own_features_are_features_whatever_their_names(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ("slide_id", "ids", "ip_class", "area_ce"), [("a", "0.5", "2", "3")])
    assert load(file, "a") == {"ids": 0.5, "ip_class": 2, "area_ce": 3}


def test_a_glob_that_names_text_or_nothing_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv")
    with pytest.raises(ConfigError, match="race named by features=race contain text"):
        load(file, features="race")
    with pytest.raises(ConfigError, match=r"no column is named by features=\*_XX"):
        load(file, features="*_XX")


def test_ids_stay_text_and_may_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ("slide_id", "odd", "X"), [("007", "a1", "5"), ("7", "a2", "6")])
    assert (load(file, "007"), load(file, "7")) == ({"X": 5}, {"X": 6})
    assert load(file, "a2", key="odd") == {"X": 6}
    with pytest.raises(ConfigError, match="no column nothing"):
        load(file, "7", key="nothing")


def test_id_columns_that_disagree_are_asked_about(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", ("slide_id", "image_id", "X"), [("1", "2", "5"), ("2", "1", "6")])
    with pytest.raises(ConfigError, match="different rows of slide_id and image_id"):
        load(file, "1")
    assert load(file, "1", key="image_id") == {"X": 6}


def numeric(file: Path, *cells: str, delimiter: str = ";", **options: object) -> Mapping[str, float]:
    """The features of row 0 of a table of one column `f` with these cells, beside a column `g` of their row numbers."""
    rows = [(f"s{i}", text, str(i)) for i, text in enumerate(cells)]
    with file.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f, delimiter=delimiter).writerows([("slide_id", "f", "g"), *rows])
    return load(file, "s0", **options)


def test_the_case_of_whole_numbers_above_decimal_commas(shared_data: Path) -> None:
    file = shared_data.parent / "cases" / "tables" / "comma_mixed.csv"
    if not file.is_file():
        pytest.skip(f"no {file}")
    with noted(lambda _: None) as notes:
        found = load(file, "P001")
    assert found == {
        "f0": 1.304, "f1": 0.947, "f2": -0.704, "f3": -1.265, "f4": -0.623, "f5": 0.041, "n1": 1, "n2": 1
    }  # fmt: skip
    assert "comma_mixed.csv: 24 rows with 8 feature columns" in notes


def test_a_damaged_case_is_named_as_damaged(shared_data: Path) -> None:
    file = shared_data.parent / "cases" / "tables" / "damaged.csv.gz"
    if not file.is_file():
        pytest.skip(f"no {file}")
    with pytest.raises(ConfigError, match=r"damaged\.csv\.gz cannot be read: it ends too early or is damaged"):
        load(file, "P001")


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (("1,5", "2", "3"), 1.5),
        (("1,304", "2", "0,947"), 1.304),
        (("1", "2", "3", "4,25"), 1),
        (("1,5", "NA", "", "n/a", "NaN", "[Unknown]", "#N/A"), 1.5),
        (("1.304", "2", "3"), 1.304),
        (("-,5", "+2,5e3"), -0.5),
    ],
)
def test_the_decimal_mark_is_told_by_all_rows(
    tmp_path: Path, delimiter: str, cells: Sequence[str], value: float
) -> None:
    assert numeric(tmp_path / "t.csv", *cells, delimiter=delimiter) == {"f": value, "g": 0}


def test_commas_that_may_be_of_thousands_are_decimal_between_semicolons_alone(tmp_path: Path) -> None:
    assert numeric(tmp_path / "t.csv", "1,304", "2", "3")["f"] == 1.304
    for delimiter in ",\t":
        with pytest.raises(ConfigError, match=r"row 2, column 'f': '1,304'"):
            numeric(tmp_path / "t.csv", "1,304", "2", "3", delimiter=delimiter)


@pytest.mark.parametrize(
    "odd",
    ["#DIV/0!", "12%", "1,304.5", ".", "-", "1_000", "inf", "1e999", "１２", "²", "12 µm", "<0.1", "1 000", "0x1f",
     "9" * 5000, "-Infinity", "−1.5", "true"],
)  # fmt: skip
def test_an_odd_cell_of_a_column_of_numbers_is_an_error_that_names_it(tmp_path: Path, odd: str) -> None:
    with pytest.raises(ConfigError) as e:
        numeric(tmp_path / "t.csv", "1.5", "2.5", odd, "3.5")
    assert f"t.csv: a cell is not a number (row 4, column 'f': '{odd[:40]}" in e.value.message
    assert "profiler.import.features" in e.value.hint
    found = numeric(tmp_path / "t.csv", "1.5", "2.5", odd, "3.5", features=["g"])
    assert found == {"g": 0}  # a column that nobody wants may hold anything


def test_points_among_decimal_commas_are_odd_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(row 5, column 'f': '1\.304'\)"):
        numeric(tmp_path / "t.csv", "1,5", "2,5", "3,5", "1.304")
    with pytest.raises(ConfigError, match=r"\(row 5, column 'f': '1,5'\)"):
        numeric(tmp_path / "t.csv", "1.5", "2.5", "3.5", "1,5")


def test_a_column_of_nothing_but_what_cannot_be_read_is_not_dropped_in_silence(tmp_path: Path) -> None:
    for cells in (("12%", "13%", "14%"), ("1,304.5", "2,304.5", "3,304.5"), ("#REF!", "#REF!", "1")):
        with pytest.raises(ConfigError, match=r"row 2, column 'f'"):
            numeric(tmp_path / "t.csv", *cells)


@pytest.mark.parametrize("cells", [("a", "b", "c", "1"), ("01.02.2020", "02.02.2020", "03.02.2020"), ("T1", "T2", "1")])
def test_a_column_of_text_is_no_feature_and_said_so(tmp_path: Path, cells: Sequence[str]) -> None:
    with noted(lambda _: None) as notes:
        assert numeric(tmp_path / "t.csv", *cells) == {"g": 0}
    assert any("f (text)" in note for note in notes)


def test_ids_and_clinical_columns_may_hold_what_they_like(tmp_path: Path) -> None:
    columns, rows = ("slide_id", "block_id", "age", "X"), [("1", "17", "60", "1.5"), ("2", "17", "61", "2.5")]
    assert load(write(tmp_path / "t.csv", columns, [*rows, ("3A", "18b", ">61", "3.5")]), "3A") == {"X": 3.5}


def test_texts_of_parquet_are_read_alike(tmp_path: Path) -> None:
    pq.write_table(pa.table({"slide_id": ["102", "103"], "X": ["1,5", "2,5"], "Y": [1.0, 2.0]}), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet") == {"X": 1.5, "Y": 1.0}
    pq.write_table(pa.table({"slide_id": ["102", "103"], "Y": [1.0, np.inf]}), tmp_path / "u.parquet")
    with pytest.raises(ConfigError, match="row 3, column 'Y': 'inf'"):
        load(tmp_path / "u.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("slide_id,X\n102,1\n".encode("utf-16"), "UTF-16"),
        (gzip.compress(b"slide_id,X\n102,1\n" * 999, mtime=0)[:60], "damaged"),
        (gzip.compress(b"slide_id,X\n102,1\n", mtime=0)[:-8] + bytes(8), "damaged"),
        (b"slide_id,X\n102,1\n103\n", "cannot be read as a table"),
        (b'slide_id,X\n102,"1\n103,2\n', "a quotation mark is not closed"),
        (b'slide_id,X,note\n102,1,"fine\n103,2,fine\n', "a quotation mark is not closed"),
        (b"slide_id,X\n102," + b"1" * 9_000_000 + b"\n", "row 2, column 'X'|cannot be read as a table"),
        (b"slide_id," + b"x" * 10**6 + b"\n102,1\n", "header: field larger"),
    ],
)
def test_what_is_no_table_is_told_with_the_file_and_the_cause(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"t\.csv.*({message})"):
        load(tmp_path / "t.csv")


def test_old_ends_of_lines_and_a_packed_file_of_any_name_are_read(tmp_path: Path) -> None:
    text = b"slide_id;X\r101;1,5\r102;2,5\r"
    for content in (text, gzip.compress(text, mtime=0)):
        (tmp_path / "t.csv").write_bytes(content)
        assert load(tmp_path / "t.csv") == {"X": 2.5}


def test_a_slide_without_a_row_is_set_aside_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no row for slide nobody or patient P") as e:
        load(write(tmp_path / "t.csv"), "nobody")
    assert "CASE_ID has 101, 102" in e.value.hint


def test_tables_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such table"):
        load(tmp_path / "none.csv")
    (tmp_path / "bad.csv.gz").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"bad\.csv\.gz"):
        load(tmp_path / "bad.csv.gz")
    with pytest.raises(ConfigError, match="infinity"):
        load(write(tmp_path / "inf.csv", ("slide_id", "X"), [("102", "inf")]))
    with pytest.raises(ConfigError, match="ids found"):
        load(write(tmp_path / "ids.csv", ("a", "X"), [("102", "1")]))
    with pytest.raises(ConfigError, match="a header at most"):
        load(write(tmp_path / "empty.csv", rows=[]))


def test_the_real_tables_give_607_features_and_no_clinical_one(
    shared_data: Path,
) -> None:
    tables = [str(shared_data / "tcga" / f"hif_{name}.csv.gz") for name in ("luad", "lusc")]
    for slide in ("TCGA-49-AARO", "TCGA-63-5131"):
        with noted(lambda _: None) as notes:
            found = profile(tables, slide, slide)
        assert len(found.names) == 607
        assert not np.isnan(found.values).all()
        assert not {"os", "num_mutations", "pfi_time"} & set(found.names)
        assert not any(name.endswith(("_HE", "_FFPE")) for name in found.names)
        assert any("944 rows with 607 feature columns" in note for note in notes)
