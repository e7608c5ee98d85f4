"""A slide in the watched folder counts once it has stopped growing, with all that belongs to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import served
from sqlalchemy import Engine

from kras_plugins.service import cases
from kras_plugins.service.bundles import Bundles
from kras_plugins.service.intake.arrivals import Arrivals
from kras_plugins.service.intake.watch import Watch, take_settled
from kras_plugins.service.settings import ServiceSettings

SUFFIXES = (".svs", ".mrxs", ".dcm", ".tiles")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


@pytest.fixture
def watch(folder: Path) -> Watch:
    return Watch(folder, SUFFIXES, settle_s=30)


def test_a_file_that_grows_is_waited_for_and_taken_once(folder: Path, watch: Watch) -> None:
    slide = folder / "a.svs"
    for now in (0, 20, 40):
        slide.write_bytes(b"x" * (now + 1))
        assert watch.settled(now) == []
    assert watch.settled(69) == []
    assert watch.settled(70) == watch.settled(71) == [slide]
    watch.take([slide])
    assert watch.settled(1000) == []
    slide.write_bytes(b"scanned again")
    assert watch.settled(1001) == [] and watch.settled(1031) == [slide]


def test_a_file_whose_size_is_there_from_the_beginning_is_waited_for_while_it_is_written(
    folder: Path, watch: Watch
) -> None:
    slide = folder / "a.svs"
    for now in (0, 20, 40):
        slide.write_bytes(b"x" * 100)
        os.utime(slide, (now, now))
        assert watch.settled(now) == []
    assert watch.settled(70) == [slide]


def test_a_mirax_file_counts_with_its_folder_and_not_before_it(folder: Path, watch: Watch) -> None:
    slide, beside = folder / "a.mrxs", folder / "a"
    slide.write_bytes(b"index")
    assert watch.settled(0) == watch.settled(100) == []
    beside.mkdir()
    (beside / "Data0000.dat").write_bytes(b"1")
    (beside / "preview.svs").write_bytes(b"no slide of its own")
    assert watch.settled(200) == watch.settled(300) == []
    (beside / "Slidedat.ini").write_text("[GENERAL]")
    assert watch.settled(400) == []
    (beside / "Data0001.dat").write_bytes(b"2")
    assert watch.settled(429) == [] and watch.settled(458) == []
    assert watch.settled(459) == [slide]


def test_a_folder_of_dicom_files_is_one_slide(folder: Path, watch: Watch) -> None:
    series = folder / "study" / "series"
    series.mkdir(parents=True)
    for i in range(3):
        (series / f"{i}.dcm").write_bytes(b"x")
        assert watch.settled(i * 20) == []
    assert watch.settled(69) == [] and watch.settled(70) == [series]


def test_a_folder_that_a_reader_takes_for_a_slide_is_one(folder: Path, watch: Watch) -> None:
    (folder / "a.tiles").mkdir()
    (folder / "a.tiles" / "inner.svs").write_bytes(b"x")
    watch.settled(0)
    assert watch.settled(30) == [folder / "a.tiles"]


def test_what_is_hidden_or_no_slide_is_left_alone(folder: Path, watch: Watch) -> None:
    for name in (".a.svs", "a.svs.part", "notes.txt", ".copying/b.svs"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    watch.settled(0)
    assert watch.settled(100) == []


@pytest.fixture
def arrivals(db: Engine, folder: Path, tmp_path: Path) -> Arrivals:
    settings = ServiceSettings(data=tmp_path / "data", watch=folder, name_pattern=r"^(?P<patient>[A-Z]+)_")
    return Arrivals(db, settings, Bundles(folders={"b": tmp_path}, shown=("b",)))


def test_slides_become_cases_by_table_by_name_or_alone(
    db: Engine, folder: Path, watch: Watch, arrivals: Arrivals
) -> None:
    for name in ("x.svs", "y.svs", "ANN_1.svs", "ANN_2.svs", "z.svs"):
        (folder / name).write_text(name)
    (folder / "cases.csv").write_text("patient_id,filename\nbob,x.svs\nbob,y.svs\n")
    (folder / "other.csv").write_text("something\nelse\n")
    assert take_settled(arrivals, watch, r"^(?P<patient>[A-Z]+)_", 0) == []
    found = take_settled(arrivals, watch, r"^(?P<patient>[A-Z]+)_", 30)
    told = {cases.patient_id(db, one.patient): (one.grouping, one.version) for one in found}
    assert told == {"bob": ("csv", 1), "ANN": ("pattern", 1), "z": ("alone", 1)}
    assert all(one.patient.startswith("id-") for one in found)
    assert take_settled(arrivals, watch, None, 60) == []


def test_a_late_slide_makes_a_new_version(folder: Path, watch: Watch, arrivals: Arrivals) -> None:
    (folder / "ANN_1.svs").write_text("1")
    take_settled(arrivals, watch, r"^(?P<patient>[A-Z]+)_", 0)
    (first,) = take_settled(arrivals, watch, r"^(?P<patient>[A-Z]+)_", 30)
    (folder / "ANN_2.svs").write_text("2")
    take_settled(arrivals, watch, r"^(?P<patient>[A-Z]+)_", 40)
    (second,) = take_settled(arrivals, watch, r"^(?P<patient>[A-Z]+)_", 70)
    assert (second.version, second.supersedes) == (2, first.id)


def test_a_link_out_of_the_folder_is_refused_and_logged_without_its_name(
    folder: Path, watch: Watch, arrivals: Arrivals, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served.arrive(tmp_path / "elsewhere", 1)
    (folder / "secret.svs").symlink_to(tmp_path / "elsewhere" / "TCGA-01-0001.svs")
    (folder / "good.svs").write_text("x")
    take_settled(arrivals, watch, None, 0)
    assert len(take_settled(arrivals, watch, None, 30)) == 1
    assert "NotAllowed" in caplog.text and "secret" not in caplog.text and "TCGA" not in caplog.text
    assert take_settled(arrivals, watch, None, 60) == []
