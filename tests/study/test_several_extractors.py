"""A study of two extractors, `vit` over slides and `h5` over bags made elsewhere, from the command to the viewer."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cohorts import kras, read_rows
from colored_parts import PARTS

from kras_plugins import study
from kras_plugins.errors import ConfigError
from kras_plugins.report.case_json import read_case
from kras_plugins.report.heatmap import read_tiles_geojson
from kras_plugins.study.session import opened
from kras_plugins.testing import draw_slide
from kras_plugins.viewer.found import find_shown

SETTINGS = """
[run]
profiler = "centers"
folds = 2
workers = 1
plugins = ["{folder}/parts.py"]
[extractor.vit]
model = "vit-mini"
[extractor.h5]
folder = "bags"
[classifier.he]
epochs = 4
seeds = 1
max_tiles = 12
[classifier.rf]
trees = 20
"""
N = 16
RUN = ("run", "--extractor", "vit,h5", "--classifiers", "he,rf", "--out", "run")
MEMBERS = ["he@vit", "he@h5", "rf"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of sixteen slides, and the bags that another encoder made of them."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "slides").mkdir()
    (folder / "parts.py").write_text(PARTS)
    (folder / "kras.toml").write_text(SETTINGS.format(folder=folder))
    rows: list[dict[str, Any]] = []
    for i in range(N):
        file = folder / "slides" / f"s{i}.tiff"
        draw_slide(file, seed=i, size_um=(512.0, 512.0), stain=(1 + 0.5 * (i % 2), 1.0), levels=2)
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "path": f"slides/s{i}.tiff", "g12c": i % 2})
    with (folder / "cohort.csv").open("w", newline="") as f:
        csv.DictWriter(f, list(rows[0])).writeheader()
        csv.DictWriter(f, list(rows[0])).writerows(rows)
    study.embed(folder / "cohort.csv", settings(folder).having(extractor="color"), out=folder / "bags")
    return folder


@pytest.fixture(scope="module")
def ran(home: Path) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    found = kras(*RUN, cwd=home, store=home / "store")
    assert found.returncode == 0, found.stderr
    return found


@pytest.fixture(scope="module")
def scored(home: Path, ran: subprocess.CompletedProcess[str]) -> Path:
    """Two of the slides, scored with the bundle."""
    new = [home / "slides" / "s0.tiff", home / "slides" / "s1.tiff"]
    study.score(home / "run" / "bundle", new, settings(home), out=home / "scores")
    return home / "scores"


def settings(folder: Path, **given: object) -> study.StudySettings:
    """The settings of the command, for use from Python."""
    made = study.StudySettings.load(folder / "kras.toml", cache=folder / "store", **given)
    return made.having(extractor="vit,h5", classifiers=("he", "rf")).with_options(f"extractor.h5.folder={folder}/bags")


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def test_each_classifier_of_tiles_is_a_member_for_each_extractor(
    home: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    metrics = json.loads((home / "run" / "metrics.json").read_text())
    assert [name for name in metrics["models"] if name in MEMBERS] == MEMBERS
    rows = read_rows(home / "run" / "predictions.csv")
    assert all(0 < float(row[name]) < 1 for row in rows for name in (*MEMBERS, "ensemble"))
    assert {row["members"] for row in rows} == {"he@vit he@h5 rf"}
    report = (home / "run" / "report.html").read_text()
    for text in (ran.stdout, report, (home / "run" / "model-card.md").read_text()):
        for label in ("HE (attention MIL) on vit", "HE (attention MIL) on h5", "AI-RF"):
            assert label in " ".join(text.split())


def test_manifest_and_bundle_state_each_extractor(home: Path, ran: subprocess.CompletedProcess[str]) -> None:
    stated = manifest(home / "run")
    bundle = json.loads((home / "run" / "bundle" / "bundle.json").read_text())
    for facts in (stated, bundle["facts"]):
        assert {key: facts[key]["name"] for key in facts if key.startswith("extractor")} == {
            "extractor@vit": "vit",
            "extractor@h5": "h5",
        }
        assert list(facts["extractor@vit"]["models"]) and not facts["extractor@h5"]["models"]
        assert facts["extractor@vit"]["options"]["model"] == "vit-mini"
    assert all(set(s["artifacts"]) == {"tissue", "bag@vit", "map"} for s in stated["slides"].values())
    assert [(m["name"], m["plugin"], m.get("extractor")) for m in bundle["members"]] == [
        ("he@vit", "he", "vit"),
        ("he@h5", "he", "h5"),
        ("rf", "rf", None),
    ]
    assert bundle["inputs"]["extractors"].keys() == {"vit", "h5"}


def test_bags_are_those_of_a_study_of_that_extractor_alone(
    home: Path, ran: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    study.embed(home / "slides" / "s3.tiff", settings(home).having(extractor="vit"), out=tmp_path)
    (call,) = manifest(tmp_path)["calls"]
    assert call["slides"]["s3"]["artifacts"]["bag"] == manifest(home / "run")["slides"]["s3"]["artifacts"]["bag@vit"]


def test_the_same_command_finds_the_study_finished_and_other_extractors_are_another(
    home: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    again = kras(*RUN, cwd=home, store=home / "store")
    assert again.returncode == 0 and "HE (attention MIL) on h5" in " ".join(again.stdout.split())
    given = settings(home)
    assert study.train(home / "cohort.csv", given, out=home / "run").done_before
    for other in ("vit", "h5,vit"):
        with pytest.raises(ConfigError, match=f"contains another study: extractor: vit,h5 there, {other} now"):
            study.train(home / "cohort.csv", given.having(extractor=other), out=home / "run")


def test_a_study_that_was_killed_resumes_with_the_same_bytes(
    home: Path, ran: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    for name in ("manifest.json", "predictions.csv"):
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "run" / "bundle")
    resumed = study.train(home / "cohort.csv", settings(home), out=tmp_path / "run")
    assert not resumed.done_before
    for name in ("predictions.csv", "bundle/bundle.json"):
        assert (tmp_path / "run" / name).read_bytes() == (home / "run" / name).read_bytes()


def test_a_dry_run_counts_what_is_to_do_for_all_extractors(home: Path, ran: subprocess.CompletedProcess[str]) -> None:
    plan = study.plan(home / "cohort.csv", settings(home))
    assert {(slide.bag, slide.map) for slide in plan.slides} == {("stored", "stored")}
    assert plan.fits == 2 * (len(MEMBERS) + 2)  # and the baseline on the bags of each
    fresh = study.plan(home / "cohort.csv", settings(home).having(cache=home / "empty"))
    assert {slide.bag for slide in fresh.slides} == {"compute"}
    assert [name for name, _ in fresh.rates] == ["extractor vit", "profiler centers"]


def test_new_slides_get_a_score_and_a_heat_map_of_each_member(scored: Path) -> None:
    (first, second) = read_rows(scored / "predictions.csv")
    assert first["members"] == second["members"] == "he@vit he@h5 rf"
    case = read_case(scored / "s0.case.json")
    assert case.tiles is not None and case.tiles.member == "he@vit"
    assert "HE (attention MIL) on vit" in (scored / "s0.html").read_text()
    wide, small = (read_tiles_geojson(scored / f"s0{m}.attention.geojson") for m in ("", ".he@h5"))
    assert wide[1][0] > small[1][0]  # tiles of 224 px beside tiles of 128 px
    assert (scored / "s0.attention.png").is_file() and (scored / "s0.he@h5.attention.png").is_file()
    stated = manifest(scored)["calls"][0]
    assert {key for key in stated if key.startswith("extractor")} == {"extractor@vit", "extractor@h5"}
    assert {"s0.he@h5.attention.png", "s0.attention.png"} <= set(stated["outputs"])


def test_prediction_needs_all_extractors_and_says_which_is_missing(home: Path, scored: Path, tmp_path: Path) -> None:
    new = [home / "slides" / "s0.tiff", home / "slides" / "s1.tiff"]
    blocked = settings(home).having(block=("extractor:h5",), options={})
    with pytest.raises(
        ConfigError, match="made with extractor vit, extractor h5, profiler centers; not installed here: extractor h5"
    ):
        study.score(home / "run" / "bundle", new, blocked, out=tmp_path / "blocked")
    shutil.copytree(home / "bags", tmp_path / "bags")
    (tmp_path / "bags" / "s1.h5").unlink()
    fewer = settings(home).with_options(f"extractor.h5.folder={tmp_path}/bags")
    found = study.score(home / "run" / "bundle", new, fewer, out=tmp_path / "fewer")
    (aside,) = found.failures
    assert (
        aside.slide_id == "s1" and aside.reason.startswith("extractor h5: ") and "no such feature file" in aside.reason
    )
    assert found.predictions.column("call").to_pylist()[1] == "not_assessable"


def test_an_external_cohort_is_compared_by_each_encoder(home: Path, scored: Path) -> None:
    found = study.validate(home / "run" / "bundle", home / "cohort.csv", settings(home), out=home / "external")
    assert set(MEMBERS) <= set(found.metrics["models"])
    said = {row["what"] for row in found.metrics["external"]["shift"]}
    assert {"extractor@vit", "extractor@h5", "encoder@vit (share of dimensions that moved)"} <= said


def test_the_viewer_shows_the_tiles_of_the_member_that_it_names(home: Path, scored: Path) -> None:
    with opened(settings(home)) as session:
        for folder in (home / "run", scored):
            slide = find_shown(session, [folder]).slides["s0"].open()
            try:
                layers = {layer.id: layer for layer in slide.layers}
                tiles = layers["attention"].explained.tiles  # type: ignore[attr-defined]
                assert tiles.size == (224.0, 224.0)  # and not 128, as those of the other extractor
                if folder != scored:  # with so few patients there is no threshold, hence no score to be explained
                    assert "HE (attention MIL) on vit" in layers["contribution"].note
                x, y = tiles.xy[0].tolist()
                answer = slide.similar(x + 5, y + 5, 2)
                assert len(answer["hits"]) == 2
                assert f"of {N - 1} of {N - 1} slides of the training cohort" in answer["of"]
            finally:
                slide.close()


def test_a_folder_of_bags_is_of_one_extractor(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--extractor vit,h5: a folder takes the bags of one extractor"):
        study.embed(home / "slides" / "s0.tiff", settings(home), out=tmp_path)
    words = ("similar", "slides/s0.tiff", "--tile", "1,1", "--out", tmp_path / "alike.png", "--extractor", "vit,h5")
    asked = kras(*words, cwd=home, store=home / "store")
    assert asked.returncode == 1 and "tiles are compared by one extractor" in " ".join(asked.stderr.split())
