"""Slides joined to labels: whose slide it is, which kinds are kept, and a count of every one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kras_plugins import ConfigError
from kras_plugins.cohort.labels import Label
from kras_plugins.cohort.pairing import SlideFile, find_slides, pair, without_slides

UUID = "7f5a7bf1-7ec4-4f30-b1f8-8c7a3a6d1f10"
LABELS = [
    Label(
        patient_id="TCGA-05-0001", site="05", histology="LUAD", g12c=1, driver=1, changes=("p.G12C",), category="G12C"
    ),
    Label(patient_id="TCGA-05-0002", site="05", histology="LUAD", g12c=0, driver=0, category="wild type"),
    Label(patient_id="TCGA-05-0003", site="05", histology="LUAD", g12c=None, driver=1, unknown="ambiguous"),
    Label(patient_id="TCGA-05-0004", site="05", histology="LUAD", unknown="not sequenced"),
    Label(patient_id="C3L-01", g12c=0, driver=0, histology="LUAD"),
    Label(patient_id="C3L", g12c=1, driver=1, histology="LUAD"),
]


def slide(name: str, **more: str) -> SlideFile:
    return SlideFile(path=Path("s") / name, slide_id=name.partition(".")[0], **more)


def test_diagnostic_slides_of_primary_tumors_are_kept_and_each_other_is_counted_by_reason() -> None:
    names = [
        "0001-01Z-00-DX1",
        "0001-01Z-00-DX2",
        "0002-01A-01-TS1",
        "0002-11A-01-TS1",
        "0003-01Z-00-DX1",
        "0004-01Z-00-DX1",
    ]
    names += ["0002-06A-00-DX1", "9999-01Z-00-DX1", "0002-01Z-00-DX1"]
    found = pair([slide(f"TCGA-05-{name}.{UUID}.svs") for name in names] + [slide("unnamed.svs")], LABELS, Path())
    assert [row["slide_id"] for row in found.rows] == [f"TCGA-05-{names[i]}" for i in (0, 1, 8, 4)]
    assert found.dropped == {
        "not DX: frozen section": 1,
        "not a primary tumor: normal tissue": 1,
        "label unknown: not sequenced": 1,
        "not a primary tumor: metastasis": 1,
        "patient in no source: no proof of sequencing": 1,
        "name states no patient": 1,
    }
    assert sum(found.dropped.values()) + len(found.rows) == len(names) + 1
    first, *_ = found.rows
    assert (first["patient_id"], first["g12c"], first["kras_hgvsp"], first["cohort"]) == (
        "TCGA-05-0001",
        1,
        "p.G12C",
        "TCGA",
    )
    assert found.rows[-1]["g12c"] is None  # its driver is known
    flow = {step["step"]: step for step in found.flow}
    assert (flow["slides in the cohort"]["slides"], flow["slides in the cohort"]["patients"]) == (4, 3)
    assert (flow["G12C"]["slides"], flow["G12C"]["patients"]) == (2, 1)
    assert flow["labeled patients without a slide"]["patients"] == 2


def test_frozen_sections_are_kept_where_asked_for() -> None:
    found = pair([slide("TCGA-05-0002-01A-01-TS1.svs")], LABELS, Path(), ["DX", "TS"])
    assert len(found.rows) == 1


def test_a_name_of_another_project_belongs_to_the_longest_patient_id_it_begins_with() -> None:
    found = pair([slide("C3L-01-21.svs"), slide("C3L-0155.svs"), slide("C3LX-1.svs")], LABELS, Path())
    assert [(row["slide_id"], row["patient_id"]) for row in found.rows] == [
        ("C3L-0155", "C3L"),
        ("C3L-01-21", "C3L-01"),
    ]
    assert found.dropped == {"name states no patient": 1}


def test_a_row_that_gives_a_tcga_slide_to_another_patient_is_refused() -> None:
    with pytest.raises(ConfigError, match="slide of TCGA-05-0001, not of TCGA-05-0002"):
        pair([slide("TCGA-05-0001-01Z-00-DX1.svs", patient_id="TCGA-05-0002")], LABELS, Path())


def test_a_slide_name_that_is_there_twice_is_used_once() -> None:
    found = pair([slide("TCGA-05-0001-01Z-00-DX1.svs"), slide("TCGA-05-0001-01Z-00-DX1.tif")], LABELS, Path())
    assert len(found.rows) == 1
    assert found.dropped == {"another slide has the same name": 1}


def test_no_slide_left_is_an_error_that_says_why() -> None:
    with pytest.raises(ConfigError, match="1 not DX: frozen section"):
        pair([slide("TCGA-05-0001-01A-01-TS1.svs")], LABELS, Path())


def test_a_folder_is_searched_for_slides_by_their_endings(tmp_path: Path) -> None:
    for name in ("a/x.svs", "a/b/y.SVS", "z.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [one.path.name for one in find_slides(tmp_path, [".svs"])] == ["y.SVS", "x.svs"]
    with pytest.raises(ConfigError, match="contains no slides"):
        find_slides(tmp_path, [".ndpi"])


def test_a_manifest_of_the_gdc_is_a_table_of_slides(tmp_path: Path) -> None:
    name = f"TCGA-05-0001-01Z-00-DX1.{UUID}.svs"
    (tmp_path / "manifest.txt").write_text(f"id\tfilename\tmd5\tsize\tstate\nabc\t{name}\t0\t1\treleased\n")
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / name).touch()  # where gdc-client puts it
    found = pair(find_slides(tmp_path / "manifest.txt", [".svs"]), LABELS, tmp_path)
    assert found.rows[0]["path"] == f"abc/{name}"
    assert found.rows[0]["slide_id"] == "TCGA-05-0001-01Z-00-DX1"


def test_a_table_of_slides_names_patients_and_what_else_is_known(tmp_path: Path) -> None:
    (tmp_path / "slides.csv").write_text("patient_id,slide_id,path,mpp,specimen\nC3L-01,s1,x/one.svs,0.25,biopsy\n")
    (row,) = pair(find_slides(tmp_path / "slides.csv", [".svs"]), LABELS, tmp_path / "out").rows
    assert (row["patient_id"], row["slide_id"], row["mpp"], row["specimen"], row["cohort"]) == (
        "C3L-01",
        "s1",
        "0.25",
        "biopsy",
        "",
    )
    assert row["path"] == str(tmp_path / "x" / "one.svs")  # not below the cohort's folder: absolute
    (tmp_path / "slides.csv").write_text("patient_id,slide\nC3L-01,s1\n")
    with pytest.raises(ConfigError, match="lacks path"):
        find_slides(tmp_path / "slides.csv", [".svs"])


def test_without_slides_a_patient_is_one_row_and_who_is_unknown_none() -> None:
    rows = without_slides(LABELS)
    assert [row["patient_id"] for row in rows] == ["C3L", "C3L-01", "TCGA-05-0001", "TCGA-05-0002", "TCGA-05-0003"]
    assert all(row["slide_id"] == row["patient_id"] and "path" not in row for row in rows)
