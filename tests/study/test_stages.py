"""One stage alone, into a folder that grows; slides named as files, folders or a cohort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cohorts import kras, read_rows, write_rows
from networks import lay_networks

from kras_plugins import study
from kras_plugins.bags import read_bag
from kras_plugins.errors import ConfigError, UsageError
from kras_plugins.host.manager import discover
from kras_plugins.study.inputs import slides_of
from kras_plugins.study.rates import RATES
from kras_plugins.testing import draw_slide


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn slides, one of them below a folder, and a cohort of both."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "slides/more").mkdir(parents=True)
    draw_slide(folder / "slides/one.tiff", seed=1, size_um=(512.0, 512.0))
    draw_slide(folder / "slides/more/two.tiff", seed=2, size_um=(512.0, 512.0))
    (folder / "slides/notes.txt").write_text("no slide")
    write_rows(
        folder / "cohort.csv",
        [
            {"patient_id": "P1", "slide_id": "first", "path": "slides/one.tiff"},
            {"patient_id": "P1", "slide_id": "second", "path": "slides/more/two.tiff"},
        ],
    )
    return folder


@pytest.fixture(scope="module")
def settings(home: Path) -> study.StudySettings:
    options = ("extractor.vit.model=vit-mini", "extractor.vit.weights=random:0")
    return study.StudySettings(workers=1, cache=home / "store").with_options(*options)


def test_files_folders_and_a_cohort_name_the_same_slides(home: Path) -> None:
    registry = discover()
    slides = home / "slides"
    files = slides_of([slides / "one.tiff", slides / "more/two.tiff"], registry)
    assert [p.slides[0].path for p in slides_of([slides], registry).patients] == [
        p.slides[0].path for p in files.patients
    ]
    (patient,) = slides_of([home / "cohort.csv"], registry).patients
    assert [s.slide_id for s in patient.slides] == ["first", "second"]
    (patient,) = slides_of([slides], registry, patient="P").patients
    assert len(patient.slides) == 2


def test_a_dicom_folder_is_one_slide(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        (tmp_path / name).touch()
    assert len(slides_of([tmp_path], discover()).patients) == 1


@pytest.mark.parametrize("name", ["slides/on.tiff", "slidse", "cohrt.csv"])
def test_a_mistyped_path_is_a_usage_error_before_any_work(
    name: str, home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    for verb in (study.embed, study.profile):
        with pytest.raises(UsageError, match=f"{name}: no such file or folder"):
            verb([home / "slides/one.tiff", home / name], settings, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ran = kras("embed", home / name, "--out", "out", cwd=tmp_path, store=tmp_path / "store")
    assert ran.returncode == 2 and "no such file or folder" in " ".join(ran.stderr.split())
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()


def test_a_folder_without_slides_says_what_slides_end_in(
    home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="contains no slides") as caught:
        study.embed(tmp_path / "empty", settings, out=tmp_path / "out")
    assert ".svs" in caught.value.hint


def test_bags_gather_and_those_of_another_encoder_do_not_join(
    home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    slides, out = home / "slides", tmp_path / "bags"
    first = study.embed(slides / "one.tiff", settings, out=out)
    bag = read_bag(first.slides[0].path, "one")
    assert (first.slides[0].count, first.slides[0].dim) == bag.features.shape
    study.embed(str(slides / "more"), settings, out=out)
    assert sorted(f.name for f in out.glob("*.h5")) == ["one.h5", "two.h5"]
    kept = (out / "one.h5").read_bytes()
    other = settings.with_options("extractor.vit.weights=random:1")
    with pytest.raises(ConfigError, match=r"weights: random:0 there, random:1 now"):
        study.embed(slides / "one.tiff", other, out=out)
    assert (out / "one.h5").read_bytes() == kept
    once = (out / "manifest.json").read_bytes()
    study.embed(str(slides / "more"), settings, out=out)
    assert (out / "manifest.json").read_bytes() == once, "the same call has one entry, however often it is given"


def test_the_manifest_says_what_computed_and_what_its_backend_reports(
    home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    torch = settings.with_options("backend.local.engine=torch", "backend.local.device=cpu")
    study.embed(home / "slides/one.tiff", torch, out=tmp_path / "bags")
    (call,) = json.loads((tmp_path / "bags/manifest.json").read_text())["calls"]
    assert call["engine"].startswith("torch ") and " cpu batch 2" in call["engine"]
    assert call["measured"] == {"devices": ["cpu"]}


def test_features_of_slides_gather_in_one_table(home: Path, settings: study.StudySettings, tmp_path: Path) -> None:
    out = tmp_path / "profiles"
    one = study.profile(home / "slides/one.tiff", settings, out=out, geojson=False)
    two = study.profile([home / "slides"], settings, out=out, geojson=False)
    assert one.table is not None and two.table is not None
    assert (one.table.num_rows, two.table.num_rows) == (1, 2)
    assert [r["slide_id"] for r in read_rows(out / "features.csv")] == ["one", "two"]
    assert two.table.slice(0, 1).equals(one.table)
    assert two.slides[0].count > 0 and (out / "one/cells.parquet").is_file()
    with pytest.raises(ConfigError, match="contains results of another call: call: profile there, embed now"):
        study.embed(home / "slides/one.tiff", settings, out=out)


def test_a_plan_needs_no_weights_and_knows_what_this_machine_took(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"patient_id": f"P{i}", "slide_id": f"s{i}", "path": str(home / "slides" / f"{i}.tiff"), "g12c": str(i % 2)}
        for i in range(4)
    ]
    for i, row in enumerate(rows):
        shutil.copy(home / "slides" / ("one.tiff" if i % 2 else "more/two.tiff"), row["path"])
    write_rows(tmp_path / "cohort.csv", rows)
    settings = study.StudySettings(folds=2, workers=1, cache=tmp_path / "store", classifiers=("he", "rf"))
    absent = settings.with_options("extractor.vit.model=lunit-s16")  # its weights lie at a hub
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    plan = study.plan(tmp_path / "cohort.csv", absent)
    assert "kras model fetch" in " ".join(plan.notes)
    assert [(s.bag, s.map, s.bounded) for s in plan.slides] == [("compute", "compute", True)] * 4
    assert plan.seconds is not None and plan.memory is not None and plan.disk is not None
    assert all("another machine" in source for _, source in plan.rates)
    assert plan.fits == 6  # in two folds: two members and the baseline meanmax_only
    assert study.plan(tmp_path / "cohort.csv", absent.having(verdict="permutation")).fits == 4 * 100 + 2
    unknown = study.plan(tmp_path / "cohort.csv", settings.with_options("extractor.vit.model=vit_tiny_patch16_224"))
    assert unknown.seconds is None and ("extractor vit", "no rate known yet") in unknown.rates
    monkeypatch.setattr("kras_plugins.study.rates.LEAST_TILES", 1)
    monkeypatch.setattr("kras_plugins.study.rates.LEAST_SECONDS", 0.0)
    here = settings.with_options("extractor.vit.model=vit-mini")
    lay_networks(tmp_path / "store")
    study.features(tmp_path / "cohort.csv", here, shard="1/2", out=tmp_path / "out")
    assert len(json.loads((tmp_path / "store" / RATES).read_text())) == 2
    plan = study.plan(tmp_path / "cohort.csv", here)
    assert [s.bag for s in plan.slides] == ["stored", "compute", "stored", "compute"]
    assert all("measured here" in source for _, source in plan.rates)
    done, todo = plan.slides[0], plan.slides[1]
    assert not done.bounded and done.mm2 is not None and todo.mm2 is not None and done.mm2 < todo.mm2
    ran = kras(
        "run", "--classifiers", "he,rf", "--folds", "2", "--dry-run", "-o", "extractor.vit.model=vit-mini",
        cwd=tmp_path, store=tmp_path / "store",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "slides take at most" in ran.stdout and "of memory" in ran.stdout and "of disk" in ran.stdout


def test_overwriting_removes_what_earlier_calls_wrote_and_nothing_else(
    home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    out, other = tmp_path / "bags", settings.with_options("extractor.vit.weights=random:1")
    study.embed(home / "slides", settings, out=out)
    (out / "mine.h5").write_text("of another program")
    study.embed(home / "slides/one.tiff", other, out=out, overwrite=True)
    assert sorted(f.name for f in out.glob("*.h5")) == ["mine.h5", "one.h5"]
    profiles = tmp_path / "profiles"
    study.profile(home / "slides", settings, out=profiles, geojson=False)
    (profiles / "two" / "remark.md").write_text("look here")
    study.profile(home / "slides/one.tiff", settings, out=profiles, geojson=False, overwrite=True)
    assert [r["slide_id"] for r in read_rows(profiles / "features.csv")] == ["one"]
    assert not (profiles / "two" / "cells.parquet").exists()


def test_a_slide_that_was_set_aside_may_be_mended_and_the_study_goes_on(tmp_path: Path) -> None:
    rows = [
        {"patient_id": f"P{i}", "slide_id": f"s{i}", "path": f"{i}.tiff", "g12c": str(i % 2), "histology": "LUAD"}
        for i in range(25)
    ]
    for seed in (1, 2):  # large enough for a patient to be in scope
        draw_slide(tmp_path / f"drawn-{seed}.tiff", seed=seed, size_um=(768.0, 768.0))
    for i, row in enumerate(rows[1:]):
        shutil.copy(tmp_path / f"drawn-{1 if i % 3 else 2}.tiff", tmp_path / row["path"])
    write_rows(tmp_path / "cohort.csv", rows)
    settings = study.StudySettings(classifiers=("rf",), folds=2, workers=1, cache=tmp_path / "store")
    settings = settings.with_options("classifier.rf.trees=20")
    lay_networks(tmp_path / "store")
    out = tmp_path / "out"
    first = study.train(tmp_path / "cohort.csv", settings, out=out)
    assert [f.slide_id for f in first.failures] == ["s0"] and first.auroc().n == 24
    again = study.train(tmp_path / "cohort.csv", settings, out=out)
    assert not again.done_before and again.failures == first.failures
    shutil.copy(tmp_path / "drawn-2.tiff", tmp_path / "0.tiff")
    mended = study.train(tmp_path / "cohort.csv", settings, out=out)
    assert mended.failures == () and mended.auroc().n == 25
    assert study.train(tmp_path / "cohort.csv", settings, out=out).done_before
    shutil.copy(tmp_path / "drawn-1.tiff", tmp_path / "0.tiff")
    with pytest.raises(ConfigError, match=r"slides\.s0: \d+ there, \d+ now"):
        study.train(tmp_path / "cohort.csv", settings, out=out)


def test_slides_that_lie_in_the_output_folder_are_never_removed(
    home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    slide = tmp_path / "one.tiff"
    shutil.copy(home / "slides/one.tiff", slide)
    content = slide.read_bytes()
    study.embed(slide, settings, out=tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["calls"][0]["outputs"] == ["one.h5"]
    study.embed(slide, settings.with_options("extractor.vit.weights=random:1"), out=tmp_path, overwrite=True)
    assert slide.read_bytes() == content


def test_overwriting_never_removes_a_slide_that_lies_in_the_folder(
    home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    shutil.copy(home / "slides/one.tiff", tmp_path)
    (tmp_path / "one.remark.txt").write_text("mine")
    for overwrite in (False, False, True):
        study.embed(tmp_path / "one.tiff", settings, out=tmp_path, overwrite=overwrite)
    other = settings.with_options("extractor.vit.weights=random:1")
    study.embed(home / "slides/more/two.tiff", other, out=tmp_path, overwrite=True)
    assert {f.name for f in tmp_path.glob("*.*") if f.name != ".adding"} == {
        "one.tiff", "one.remark.txt", "two.h5", "manifest.json", "failures.csv",
    }  # fmt: skip


@pytest.mark.parametrize("table", ["slide_id\nx\n", "slide_id,cells_n\nx,many\n"])
def test_features_do_not_join_a_table_of_other_columns(
    table: str, home: Path, settings: study.StudySettings, tmp_path: Path
) -> None:
    out, one = tmp_path / "profiles", home / "slides/one.tiff"
    study.profile(one, settings, out=out, geojson=False)
    (out / "features.csv").write_text(table)
    with pytest.raises(ConfigError, match=r"features\.csv is missing or damaged"):
        study.profile(one, settings, out=out, geojson=False)
    assert (out / "features.csv").read_text() == table
