"""Cohort tables: what is read, what is set aside, and each trap with the message it deserves."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins import ConfigError, SlideRef
from kras_plugins.cohort.table import bare_slides, check_folds, read_cohort

Write = Callable[..., Path]

GOOD = """patient_id,slide_id,path,mpp,site,histology,specimen,g12c,age
B,B1,b1.svs,0.25,S1,LUAD,resection,1,60
A,A2,sub/a2.svs,,S2,LUSC,biopsy,0,71
A,A1,/abs/a1.svs,NA,S2,LUSC,resection,0,71
C,C1,c.svs,0.5,S1,LUAD,biopsy,NS,55
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(text: str | bytes) -> Path:
        path = tmp_path / "cohort.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save


def refused(path: Path, **options: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_cohort(path, **options)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_slides_are_gathered_by_patient_in_order_of_their_ids(write: Write) -> None:
    path = write(GOOD)
    table = read_cohort(path)
    assert [(p.patient_id, p.label, [s.slide_id for s in p.slides]) for p in table.patients] == [
        ("A", 0, ["A1", "A2"]),
        ("B", 1, ["B1"]),
    ]
    (first, second), (only,) = (patient.slides for patient in table.patients)
    assert only == SlideRef(patient_id="B", slide_id="B1", path=path.parent / "b1.svs", mpp=0.25, extra={"age": "60"})
    assert (first.path, first.mpp) == (Path("/abs/a1.svs"), None)
    assert second.path == path.parent / "sub" / "a2.svs"


def test_a_patient_carries_strata_and_covariates_as_text(write: Write) -> None:
    patient = read_cohort(write(GOOD)).patients[0]
    assert (patient.site, patient.histology, patient.specimen) == ("S2", "LUSC", "biopsy+resection")
    assert patient.covariates == {"age": "71"}


def test_an_unknown_label_is_set_aside_and_counted_never_negative(write: Write) -> None:
    table = read_cohort(write(GOOD))
    assert table.flow == {
        "rows": 4,
        "slides": 4,
        "patients": 3,
        "label_unknown": 1,
        "labelled": 2,
        "positive": 1,
        "negative": 1,
    }
    assert any("1 patients without a known g12c" in warning for warning in table.warnings)


@pytest.mark.parametrize("word", ["", "NA", "n/a", "NaN", "Unknown", "NS", "null", " "])
def test_every_word_for_unknown_is_understood(write: Write, word: str) -> None:
    table = read_cohort(write(GOOD.replace("NS,55", f"{word},55")))
    assert "C" not in {patient.patient_id for patient in table.patients}


def test_without_labels_everyone_stays_and_the_target_is_not_read(write: Write) -> None:
    table = read_cohort(write(GOOD.replace("NS,55", "what,55")), labelled=False)
    assert [patient.label for patient in table.patients] == [None, None, None]
    assert table.flow == {"rows": 4, "slides": 4, "patients": 3}


def test_no_outcome_reaches_a_plug_in_through_a_slide(write: Write) -> None:
    text = "patient_id,slide_id,path,mut,g12c,kras_hgvsp,kras_driver,note\n"
    text += "A,A,a.svs,1,1,p.G12C,1,x\nB,B,b.svs,0,0,,0,y\n"
    table = read_cohort(write(text), target="mut")
    assert [patient.slides[0].extra for patient in table.patients] == [{"note": "x"}, {"note": "y"}]
    assert table.patients[0].covariates == {"g12c": "1", "kras_hgvsp": "p.G12C", "kras_driver": "1", "note": "x"}


def test_a_label_on_one_slide_holds_for_the_patient(write: Write) -> None:
    table = read_cohort(write(GOOD.replace("A,A2,sub/a2.svs,,S2,LUSC,biopsy,0", "A,A2,sub/a2.svs,,S2,,biopsy,")))
    assert (table.patients[0].label, table.patients[0].histology) == (0, "LUSC")


def test_labels_that_became_decimals_are_read(write: Write) -> None:
    table = read_cohort(write(GOOD.replace(",1,60", ",1.0,60").replace(",0,71", ",0.0,71")))
    assert [patient.label for patient in table.patients] == [0, 1]


def test_features_made_elsewhere_need_no_path(write: Write) -> None:
    text = "patient_id,slide_id,g12c\nA,A,1\nB,B,0\n"
    assert "path" in refused(write(text)).message
    assert read_cohort(write(text), needs_paths=False).patients[0].slides[0].path is None


def test_excel_saves_a_mark_blank_lines_and_spaces_that_do_not_matter(write: Write) -> None:
    plain = read_cohort(write(GOOD))
    spoiled = GOOD.replace(",", " , ").replace("\n", "\r\n") + ",,,,,,,,\r\n\r\n"
    assert read_cohort(write(b"\xef\xbb\xbf" + spoiled.encode())) == plain


def test_a_missing_slide_file_is_not_the_tables_business(write: Write) -> None:
    assert not read_cohort(write(GOOD)).patients[0].slides[0].path.exists()


def test_an_unknown_histology_is_no_stratum_and_contradicts_nothing(write: Write) -> None:
    table = read_cohort(write(GOOD.replace("A1,/abs/a1.svs,NA,S2,LUSC", "A1,/abs/a1.svs,NA,unknown,NA")))
    assert (table.patients[0].histology, table.patients[0].site) == ("LUSC", "S2")


def test_site_codes_that_look_like_unknown_are_kept(write: Write) -> None:
    assert read_cohort(write(GOOD.replace("S1", "NA"))).patients[1].site == "NA"


def test_missing_histology_and_a_magnification_as_mpp_are_warned_of(write: Write) -> None:
    table = read_cohort(write(GOOD.replace("0.25,S1,LUAD", "40,S1,")))
    assert any("1 of 2 patients have no histology" in warning for warning in table.warnings)
    assert any("B1: mpp 40" in warning for warning in table.warnings)


TRAPS = {
    "an empty file": ("", "is empty", "patient_id"),
    "only blank lines": (" \n\n", "is empty", "patient_id"),
    "a header alone": (GOOD.splitlines()[0] + "\n", "no rows", "one row per slide"),
    "no header": ("\n".join(GOOD.splitlines()[1:]), "lacks patient_id, slide_id, path, g12c", "first line"),
    "semicolons": (GOOD.replace(",", ";"), "semicolons", "commas"),
    "tabs": (GOOD.replace(",", "\t"), "tabs", "commas"),
    "a misspelled column": (GOOD.replace("slide_id", "SlideID"), "lacks slide_id", "'SlideID' for 'slide_id'"),
    "a missing label column": (GOOD.replace("g12c", "kras"), "lacks g12c", "add it"),
    "a column twice": (GOOD.replace("age", "site"), "'site' appears twice", "keep one"),
    "an unquoted comma": (GOOD.replace("S2,LUSC,biopsy", "S2,a,b,biopsy"), "line 3: 10 cells", "quotes"),
    "a row cut short": (GOOD.replace("biopsy,NS,55", "biopsy"), "line 5: 7 cells", "quotes"),
    "an open quote": (GOOD.replace("S1,LUAD,biopsy", '"S1,LUAD,biopsy'), "line 5", "quotes"),
    "no patient": (GOOD.replace("C,C1", ",C1"), "no patient_id (line 5", "fill"),
    "no slide": (GOOD.replace("C,C1", "C,"), "no slide_id (line 5", "fill"),
    "no path": (GOOD.replace("c.svs", ""), "no path (line 5", "relative to the CSV"),
    "an id that leads elsewhere": (GOOD.replace("C,C1", "C,../C1"), "line 5: '../C1'", "slashes"),
    "a slide twice": (GOOD.replace("A,A1", "A,A2"), "line 4: 'A2' as in line 3", "one row"),
    "a file twice": (GOOD.replace("c.svs", "./x/../b1.svs"), "line 5", "one of the rows"),
    "a patient with two labels": (GOOD.replace("LUSC,biopsy,0", "LUSC,biopsy,1"), "line 4: patient A", "one label"),
    "a patient with two histologies": (
        GOOD.replace("LUSC,biopsy,0", "LUAD,biopsy,0"),
        "line 4: patient A has LUAD and LUSC",
        "one histology",
    ),
    "a patient with two sites": (GOOD.replace("S2,LUSC,b", "S9,LUSC,b"), "patient A has S2 and S9", "one site"),
    "a label in words": (GOOD.replace("n,1,60", "n,mutant,60"), "line 2: 'mutant'", "1, 0, or nothing"),
    "a label of 2": (GOOD.replace("n,1,60", "n,2,60"), "line 2: '2'", "1, 0, or nothing"),
    "an infinite label": (GOOD.replace("n,1,60", "n,inf,60"), "line 2: 'inf'", "1, 0, or nothing"),
    "an mpp in words": (GOOD.replace("0.25", "20x"), "line 2: '20x'", "µm per pixel"),
    "an mpp of nought": (GOOD.replace("0.25", "0"), "line 2: '0'", "µm per pixel"),
    "a negative mpp": (GOOD.replace("0.25", "-0.5"), "line 2: '-0.5'", "µm per pixel"),
    "negatives only": (GOOD.replace("n,1,60", "n,0,60"), "all 2 labeled patients are negative", "both classes"),
    "positives only": (GOOD.replace(",0,71", ",,71"), "all 1 labeled patients are positive", "both classes"),
    "no label at all": (
        GOOD.replace(",0,71", ",,71").replace(",1,60", ",,60"),
        "no patient has a label",
        "both classes",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_is_named_with_its_place_and_what_to_do(write: Write, trap: str) -> None:
    text, cause, hint = TRAPS[trap]
    error = refused(write(text))
    assert cause in error.message
    assert hint in error.hint


def test_a_latin1_file_is_refused_as_such(write: Write) -> None:
    assert "not UTF-8" in refused(write(GOOD.replace("S1", "Köln").encode("latin-1"))).message


def test_a_packed_file_is_refused_as_such(write: Write) -> None:
    assert "is gzipped" in refused(write(gzip.compress(GOOD.encode(), mtime=0))).message


def test_a_file_of_two_bytes_a_letter_is_refused_as_such(write: Write) -> None:
    for encoding, cause in (("utf-16", "not UTF-8"), ("utf-16-le", "contains NUL bytes")):
        assert cause in refused(write(GOOD.encode(encoding))).message


def test_numbers_that_python_alone_would_read_are_none(write: Write) -> None:
    for text in ("0_5", "０.５", "inf", "1e999", '"0,5"', "9" * 400):
        mpp = GOOD.replace("0.5", text)
        assert mpp != GOOD
        assert "mpp is not a positive number" in refused(write(mpp)).message


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.csv").message


def test_all_rows_of_one_trap_are_named_at_once_up_to_five(write: Write) -> None:
    rows = [f"P{i},S{i},s{i}.svs,maybe" for i in range(7)]
    error = refused(write("patient_id,slide_id,path,g12c\n" + "\n".join(rows)))
    assert all(f"line {line}: " in error.message for line in range(2, 7))
    assert "line 7" not in error.message
    assert "and 2 more" in error.message


def test_the_missing_column_is_told_with_those_that_are_there(write: Write) -> None:
    error = refused(write("patient_id,slide,path,label\nA,A,a.svs,1\n"))
    assert "lacks slide_id, g12c" in error.message
    assert "patient_id, slide, path, label" in error.message


def test_a_line_number_counts_the_lines_of_the_file(write: Write) -> None:
    quoted = GOOD.replace("B,B1,b1.svs,0.25,S1,LUAD,resection,1,60", 'B,B1,b1.svs,0.25,"S\n1",LUAD,resection,1,60')
    assert "line 6: 'x'" in refused(write(quoted.replace("NS,55", "x,55"))).message


@settings(deadline=None, max_examples=25)
@given(st.permutations(GOOD.splitlines()[1:]))
def test_the_order_of_rows_changes_nothing(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp()
    tables = []
    for order in (GOOD.splitlines()[1:], rows):
        (folder / "order.csv").write_text("\n".join([GOOD.splitlines()[0], *order]))
        tables.append(read_cohort(folder / "order.csv"))
    assert tables[0] == tables[1]


@pytest.mark.parametrize(("positives", "negatives", "word"), [(2, 5, "positive"), (5, 2, "negative")])
def test_fewer_of_a_class_than_folds_is_refused(write: Write, positives: int, negatives: int, word: str) -> None:
    rows = [f"P{i},S{i},s{i}.svs,{int(i < positives)}" for i in range(positives + negatives)]
    table = read_cohort(write("patient_id,slide_id,path,g12c\n" + "\n".join(rows)))
    check_folds(table, 2)
    with pytest.raises(ConfigError, match=f"2 {word} patients are fewer than 3 folds") as caught:
        check_folds(table, 3)
    assert "--folds 2" in caught.value.hint


def test_bare_slides_are_a_patient_each() -> None:
    table = bare_slides([Path("z/b.svs"), Path("z/a.svs")])
    assert [(p.patient_id, p.slides[0].slide_id, p.label) for p in table.patients] == [
        ("a", "a", None),
        ("b", "b", None),
    ]
    assert table.flow == {"slides": 2, "patients": 2}


def test_bare_slides_of_one_patient_stay_together() -> None:
    (patient,) = bare_slides([Path("b.svs"), Path("a.svs")], patient="P7").patients
    assert patient.patient_id == "P7"
    assert [slide.slide_id for slide in patient.slides] == ["a", "b"]


def test_slides_of_one_stem_get_different_ids_in_any_order() -> None:
    paths = [Path("x/a.svs"), Path("y/a.svs"), Path("y/a-2.svs"), Path("z/a.tiff")]
    for order in (paths, paths[::-1]):
        found = {p.slides[0].slide_id: p.slides[0].path for p in bare_slides(order).patients}
        assert found == {"a": paths[0], "a-3": paths[1], "a-2": paths[2], "a-4": paths[3]}


def test_no_slide_and_a_slide_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="no slides"):
        bare_slides([])
    with pytest.raises(ConfigError, match="given 2 times"):
        bare_slides([Path("a.svs"), Path(os.path.abspath("a.svs"))])


def test_patients_have_the_histology_that_the_user_gives_their_word(write: Write) -> None:
    """Also words that we treat as unknown; two words with the same meaning are not a contradiction."""
    text = GOOD.replace("LUSC", "Typ B", 1).replace("LUSC", "NS").replace("LUAD", "Adeno X")
    mine = {"typ b": "squamous", "ns": "squamous", "adeno x": "unknown"}
    table = read_cohort(write(text), histologies=mine)
    found = {patient.patient_id: patient.histology for patient in table.patients}
    assert found == {
        p.patient_id: "squamous" if p.histology == "LUSC" else "" for p in read_cohort(write(GOOD)).patients
    }
    said = [warning for warning in table.warnings if "by your settings" in warning]
    assert said[0] == "1 patients: histology 'Adeno X' is unknown, by your settings" and len(said) == 3
