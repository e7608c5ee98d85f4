"""What `embed` and `profile` write is what `h5` and `import` read, on the documented route and with odd ids."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cohorts import kras, read_rows, write_rows

from kras_plugins import study
from kras_plugins.cohort.labelling import cohort_rows, label_tables
from kras_plugins.cohort.labels import Policy
from kras_plugins.testing import draw_slide

PATIENTS = 12
ODD = ("a b", "2021;17", "ü#1,x")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides as the GDC names them, a mutation table of their patients, and the cohort that `labels` makes of both."""
    folder = tmp_path_factory.mktemp("route")
    (folder / "slides").mkdir()
    rows = []
    for i in range(PATIENTS):
        name = f"TCGA-05-{i:04d}"
        slide = folder / "slides" / f"{name}-01Z-00-DX1.{i:08X}-0000-4000-8000-0123456789AB.tiff"
        if i < 3:
            draw_slide(slide, seed=i, size_um=(512.0, 512.0))
        else:
            os.link(next((folder / "slides").glob(f"TCGA-05-{i % 3:04d}*")), slide)
        rows.append(f"{'KRAS' if i % 2 else 'TP53'}\t{name}-01\tMissense_Mutation\t{'p.G12C' if i % 2 else 'p.R175H'}")
    header = "Hugo_Symbol\tTumor_Sample_Barcode\tVariant_Classification\tHGVSp_Short"
    (folder / "luad.maf").write_text("\n".join([header, *rows]) + "\n")
    labels = label_tables([f"LUAD={folder / 'luad.maf'}"], Policy()).labels
    cohort, _ = cohort_rows(labels, folder / "slides", folder, kinds=["DX"], suffixes=[".tiff"])
    write_rows(folder / "cohort.csv", [{name: str(value) for name, value in row.items()} for row in cohort])
    return folder


def settings(home: Path, **given: object) -> study.StudySettings:
    base = {"folds": 2, "workers": 1, "cache": home / "store", **given}
    return study.StudySettings.model_validate(base).with_options(
        "extractor.vit.model=vit-mini", "extractor.vit.weights=random:0",
        "classifier.he.seeds=1", "classifier.he.epochs=1",
    )  # fmt: skip


def test_labels_then_embed_then_a_study_of_the_bags(home: Path) -> None:
    """`cohort labels` leaves the UUID out of slide ids, `embed` of the bare slides keeps it."""
    done = study.embed(home / "slides", settings(home), out=home / "bags")
    assert all(".0000" in slide.slide_id for slide in done.slides) and len(done.slides) == PATIENTS
    by_h5 = settings(home, extractor="h5", classifiers=("he",)).with_options(f"extractor.h5.folder={home / 'bags'}")
    trained = study.train(home / "cohort.csv", by_h5, out=home / "of bags")
    assert len(trained.predictions) == PATIENTS and not trained.failures


def test_labels_then_profile_then_the_maps_again(home: Path) -> None:
    """Of slides of one content, each has its map under its own id."""
    rows = [row for row in read_rows(home / "cohort.csv") if row["patient_id"] in ("TCGA-05-0001", "TCGA-05-0004")]
    write_rows(home / "two.csv", rows)
    slides = [home / row["path"] for row in rows]
    study.profile(slides, settings(home), out=home / "maps", geojson=False, tissue="none")
    by_import = settings(home, profiler="import").with_options(f"profiler.import.cells={home / 'maps'}")
    again = study.profile(home / "two.csv", by_import, out=home / "again", geojson=False, tissue="none")
    assert not again.failures
    assert [slide.slide_id for slide in again.slides] == [row["slide_id"] for row in rows]


def test_ids_with_spaces_slashes_and_other_characters_come_back(home: Path, tmp_path: Path) -> None:
    slides = sorted((home / "slides").iterdir())
    rows = [{"patient_id": f"P{i}", "slide_id": name, "path": str(slides[i])} for i, name in enumerate(ODD)]
    write_rows(tmp_path / "slides.csv", rows)
    write_rows(tmp_path / "cohort.csv", [{**row, "path": ""} for row in rows])
    cohort, chosen = tmp_path / "cohort.csv", settings(home)
    study.embed(tmp_path / "slides.csv", chosen, out=tmp_path / "bags")
    study.profile(tmp_path / "slides.csv", chosen, out=tmp_path / "maps", geojson=False, tissue="none")
    by_h5 = settings(home, extractor="h5").with_options(f"extractor.h5.folder={tmp_path / 'bags'}")
    again = study.embed(cohort, by_h5, out=tmp_path / "again")
    assert {slide.slide_id for slide in again.slides} == set(ODD)
    for where in (tmp_path / "maps", tmp_path / "maps" / "{slide_id}"):
        by_import = settings(home, profiler="import").with_options(f"profiler.import.cells={where}")
        found = study.profile(cohort, by_import, out=tmp_path / f"of {where.name}", geojson=False, tissue="none")
        assert {slide.slide_id for slide in found.slides} == set(ODD)


@pytest.mark.parametrize("command", ["embed", "profile"])
def test_slides_that_were_set_aside_are_written_down_where_the_exit_code_is_3(
    home: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "slides").mkdir()
    shutil.copy(next((home / "slides").iterdir()), tmp_path / "slides" / "good.tiff")
    (tmp_path / "slides" / "bad.tiff").write_bytes(b"no slide")
    options = ("-o", "extractor.vit.model=vit-mini", "-o", "extractor.vit.weights=random:0")
    words = options if command == "embed" else ("--no-geojson", "--tissue", "none")
    run = kras(command, "slides", "--out", "out", *words, cwd=tmp_path, store=home / "store")
    assert run.returncode == 3, run.stderr
    assert [row["slide_id"] for row in read_rows(tmp_path / "out" / "failures.csv")] == ["bad"]
