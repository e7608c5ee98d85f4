"""Fields of view through the commands: pictures with and without a resolution, several of a patient, known truth."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from cohorts import kras, read_rows, write_rows
from PIL import Image

from kras_plugins import study
from kras_plugins.errors import ConfigError
from kras_plugins.study.feature_tables import fields_note
from kras_plugins.testing import draw_slide

SIDE, FIRST = 256, 640
"""Pixels a side of a field, of 0.5 µm, and where in the slide the first one is cut."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Four neighboring fields from inside a drawn slide, one of 64 µm, and a blank one; `truth`: cells of the four."""
    folder = tmp_path_factory.mktemp("fields")
    truth = draw_slide(folder / "slide.tiff", seed=4, size_um=(800.0, 800.0), histology="LUSC")
    pixels = tifffile.imread(folder / "slide.tiff")
    corners = [(FIRST + SIDE * (k % 2), FIRST + SIDE * (k // 2)) for k in range(4)]
    (folder / "fields").mkdir()
    for k, (x, y) in enumerate(corners):
        Image.fromarray(pixels[y : y + SIDE, x : x + SIDE]).save(folder / f"fields/f{k}.png")
    tiny = pixels[FIRST : FIRST + 128, FIRST : FIRST + 128]
    Image.fromarray(tiny).convert("RGBA").save(folder / "fields/tiny.png")
    Image.fromarray(np.full_like(tiny, 243)).save(folder / "fields/blank.jpg")
    inside = [(v * 2 >= FIRST) & (v * 2 < FIRST + 2 * SIDE) for v in (np.asarray(truth.x_um), np.asarray(truth.y_um))]
    rows = [("p1", k) for k in range(3)] + [("p2", 3)]
    write_rows(
        folder / "cohort.csv",
        [{"patient_id": p, "slide_id": f"f{k}", "path": f"fields/f{k}.png", "g12c": str(k % 2)} for p, k in rows],
    )
    return SimpleNamespace(folder=folder, cells=int(np.logical_and(*inside).sum()), store=folder / "store")


@pytest.fixture(scope="module")
def profiled(home: SimpleNamespace) -> SimpleNamespace:
    ran = kras(
        "profile", "fields", "--mpp", "0.5", "--out", "out", "--overlay", "--no-geojson", "--workers", "1",
        cwd=home.folder, store=home.store,
    )  # fmt: skip
    return SimpleNamespace(ran=ran, out=home.folder / "out", rows=read_rows(home.folder / "out/features.csv"))


def test_a_folder_of_fields_is_profiled_and_blank_ones_are_set_aside(profiled: SimpleNamespace) -> None:
    assert profiled.ran.returncode == 3
    assert [row["slide_id"] for row in profiled.rows] == ["f0", "f1", "f2", "f3", "tiny"]
    (aside,) = read_rows(profiled.out / "failures.csv")
    assert aside["slide_id"] == "blank" and "no tissue found" in aside["reason"]
    said = " ".join(profiled.ran.stderr.split())
    assert said.count("5 fields of view have areas, densities and ratios whatever their size") == 1
    assert "5 slides: 0.0" in profiled.ran.stdout and "mm² of tissue" in profiled.ran.stdout
    for row in profiled.rows:
        assert float(row["area_tissue"]) > 0 and row["til_tissue"] and not row["is"] and not row["ripley_tl_50"]
        assert (profiled.out / row["slide_id"] / "overlay.png").stat().st_size > 10_000


def test_areas_are_those_of_the_fields_and_cells_those_that_were_drawn(
    home: SimpleNamespace, profiled: SimpleNamespace
) -> None:
    import pyarrow.parquet as pq

    four = profiled.rows[:4]
    assert sum(float(row["area_tissue"]) for row in four) == pytest.approx(4 * 0.128**2, rel=0.05)
    assert float(profiled.rows[4]["area_tissue"]) == pytest.approx(0.064**2, rel=0.05)
    found = sum(pq.read_metadata(profiled.out / f"f{k}/cells.parquet").num_rows for k in range(4))
    assert found == pytest.approx(home.cells, rel=0.1)


def test_the_manifest_says_that_they_were_fields(profiled: SimpleNamespace) -> None:
    (call,) = json.loads((profiled.out / "manifest.json").read_text())["calls"]
    assert {s["field"] for s in call["slides"].values()} == {True}
    assert {(s["mpp"], s["mpp_source"]) for s in call["slides"].values()} == {(0.5, "option")}


def test_without_a_resolution_the_error_says_how_to_give_one(home: SimpleNamespace, tmp_path: Path) -> None:
    ran = kras("profile", home.folder / "fields", "--out", "out", cwd=tmp_path, store=home.store)
    told = " ".join(ran.stderr.split())
    assert ran.returncode == 1
    assert "nothing states how many micrometers wide a pixel is" in told and "--mpp 0.5" in told


def test_a_cohort_of_fields_is_checked_with_the_resolution_that_is_said(home: SimpleNamespace) -> None:
    for words, cause in (((), "cannot be used"), (("--mpp", "0.5"), "4 slides open")):
        ran = kras("cohort", "check", "cohort.csv", *words, "--folds", "2", cwd=home.folder, store=home.store)
        assert cause in " ".join((ran.stdout + ran.stderr).split())


def test_fields_of_a_patient_are_one_row_that_asks_enough_of_all_of_them_together(
    home: SimpleNamespace, profiled: SimpleNamespace
) -> None:
    settings = study.StudySettings(mpp=0.5, workers=1, cache=home.store)
    study.profile(home.folder / "cohort.csv", settings, out=home.folder / "by", geojson=False, tissue="none")
    one, two = read_rows(home.folder / "by/patients.csv")
    assert (one["patient_id"], one["slides"], two["slides"]) == ("p1", "f0 f1 f2", "f3")
    for name in ("area_tissue", "area_ce", "area_cs"):
        assert float(one[name]) == pytest.approx(sum(float(row[name]) for row in profiled.rows[:3])), name
    assert one["til_tissue"] == two["til_tissue"] == ""  # not 0.1 mm² of epithelium in all: too little for a patient


def test_what_is_no_field_by_the_settings_meets_the_limits_of_a_slide(home: SimpleNamespace, tmp_path: Path) -> None:
    settings = study.StudySettings(mpp=0.5, field=False, workers=1, cache=home.store)
    with pytest.raises(ConfigError, match="no slide could be used") as caught:
        study.profile(home.folder / "fields/tiny.png", settings, out=tmp_path / "out")
    assert "hardly any tissue" in caught.value.hint or "no tissue" in caught.value.hint


def test_options_of_one_reader_go_before_what_is_said_of_all_files(home: SimpleNamespace) -> None:
    from kras_plugins.study.session import opened

    settings = study.StudySettings(mpp=0.5, field=True).with_options("reader.tiff.mpp=0.25")
    with opened(settings) as session:
        readers = session.config.options["reader"]
    assert readers["tiff"] == {"mpp": 0.25, "field": True}
    assert readers["openslide"] == {"mpp": 0.5, "field": True}


def test_nothing_is_said_of_slides() -> None:
    assert fields_note([]) == ""
