"""What is found in the folders that commands write: layers, values, similar tiles, and why something is missing."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from colored_parts import PARTS

from kras_plugins import study
from kras_plugins.errors import SlideError, UsageError
from kras_plugins.report.heatmap import read_tiles_geojson
from kras_plugins.study.session import opened
from kras_plugins.testing import draw_slide
from kras_plugins.viewer.found import find_shown

N = 16


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of sixteen slides, a finished study of it, two of its slides scored and profiled."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "slides").mkdir()
    (folder / "parts.py").write_text(PARTS)
    rows = []
    for i in range(N):
        draw_slide(
            folder / "slides" / f"s{i}.tiff", seed=i, size_um=(512.0, 512.0), stain=(1 + 0.5 * (i % 2), 1.0), levels=2
        )
        rows.append({"patient_id": f"p{i}", "slide_id": f"s{i}", "path": f"slides/s{i}.tiff", "g12c": i % 2})
    with (folder / "cohort.csv").open("w", newline="") as f:
        csv.DictWriter(f, list(rows[0])).writeheader()
        csv.DictWriter(f, list(rows[0])).writerows(rows)
    given = settings(folder)
    study.train(folder / "cohort.csv", given, out=folder / "run")
    new = [folder / "slides" / "s0.tiff", folder / "slides" / "s1.tiff"]
    study.score(folder / "run" / "bundle", new, given, out=folder / "scores")
    study.validate(folder / "run" / "bundle", folder / "cohort.csv", given, out=folder / "external")
    study.profile(new[:1], given, out=folder / "profiles", geojson=False)
    return folder


def settings(folder: Path) -> study.StudySettings:
    given = study.StudySettings(
        extractor="color", profiler="centers", classifiers=("he", "rf"), folds=2, workers=1,
        plugins=(folder / "parts.py",), cache=folder / "store",
    )  # fmt: skip
    return given.with_options(
        "classifier.he.epochs=6", "classifier.he.seeds=1", "classifier.he.max_tiles=12", "classifier.rf.trees=20"
    )


@pytest.fixture
def find(home: Path):
    """`find(path, …)`: what `kras view` shows of it."""
    with ExitStack() as stack:

        def find(*given: Path, slides: Path | None = None, store: Path | None = None):
            chosen = settings(home)
            session = stack.enter_context(opened(chosen.having(cache=store) if store else chosen))
            return find_shown(session, given, slides)

        yield find


def ids(one) -> list[str]:
    return [layer.id for layer in one.layers]


def test_bare_slides_have_their_tissue_and_nothing_missing(home: Path, find, tmp_path: Path) -> None:
    shown = find(home / "slides" / "s0.tiff", home / "slides" / "s1.tiff", store=tmp_path / "fresh")
    assert list(shown.slides) == ["s0", "s1"]
    one, processed = shown.slides["s1"].open(), find(home / "scores").slides["s1"].open()
    assert (ids(one), one.missing, one.at(5, 5)["tile"]) == (["tissue"], {}, None)
    assert one.at(5, 5)["left_out"] == processed.at(5, 5)["left_out"] is not None
    one.close()
    processed.close()
    assert list(find(home / "slides").slides) == sorted(f"s{i}" for i in range(N))


def test_tissue_is_not_looked_for_where_the_whole_slide_would_have_to_be_read(home: Path, tmp_path: Path) -> None:
    draw_slide(tmp_path / "flat.tiff", seed=1, size_um=(384.0, 384.0), levels=1)
    with opened(settings(home).having(cache=tmp_path / "store")) as session:
        ref = next(iter(find_shown(session, [tmp_path / "flat.tiff"]).slides.values()))
        with closing(ref.open()) as small:
            assert ids(small) == ["tissue"]
        shutil.rmtree(tmp_path / "store")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kras_plugins.viewer.assemble.has_small_level", lambda slide: False)
            with closing(ref.open()) as large:
                assert (ids(large), *large.missing) == ([], "Tissue and what was left out")


@pytest.mark.parametrize(("name", "slide"), [("run", "s3"), ("external", "s3"), ("scores", "s0"), ("profiles", "s0")])
def test_a_store_that_was_named_is_found_again_beside_its_results(home: Path, name: str, slide: str) -> None:
    chosen = settings(home).having(cache=None)
    with opened(chosen) as session:
        shown = find_shown(session, [home / name])
        assert (shown.target, shown.out_of_fold) == ("" if name == "profiles" else "g12c", name == "run")
        one = shown.slides[slide].open()
        assert "tissue" in ids(one)
        assert not any("store" in why for why in one.missing.values())
        one.close()


@pytest.fixture(scope="module")
def assessable(home: Path) -> Path:
    """The scores as they would be if there were enough patients for thresholds."""
    folder = home / "assessable"
    shutil.copytree(home / "scores", folder)
    file = folder / "predictions.csv"
    file.write_text(file.read_text().replace("not_assessable", "indeterminate"))
    return folder


def test_a_patient_who_is_not_assessable_has_no_contributions_as_they_add_up_to_a_score(home: Path, find) -> None:
    one = find(home / "scores").slides["s0"].open()
    assert ids(one) == ["tissue", "attention", "regions", "cells"]
    assert "not assessable" in one.missing["Contribution"]
    tile = one.at(*(one.layer("attention").explained.tiles.xy[3] + 5))["tile"]
    assert (tile["contribution"], tile["raises"]) == (None, None)
    one.close()


def test_a_result_has_what_predict_wrote_and_its_values_at_a_point(home: Path, assessable: Path, find) -> None:
    shown = find(assessable)
    assert list(shown.slides) == ["s0", "s1"]
    one = shown.slides["s0"].open()
    assert ids(one) == ["tissue", "attention", "contribution", "regions", "cells"]
    assert one.missing == {}
    xy, size, values = read_tiles_geojson(home / "scores" / "s0.attention.geojson")
    tiles = one.layer("attention").explained.tiles
    looked = {e.key: e.count for e in one.layer("contribution").legend}
    assert looked["raises"] + looked["lowers"] == len(xy) == 12
    assert looked["unseen"] == len(tiles) - 12 > 0
    for i in (0, 7):
        at = one.at(*(xy[i] + np.array(size) / 2))["tile"]
        assert at["xy"] == xy[i].tolist()
        assert (at["attention"], at["contribution"]) == (values["attention"][i], values["contribution"][i])
        assert at["raises"] == (values["contribution"][i] > 0)
        assert at["percentile"] == pytest.approx(
            100 * np.mean(values["attention"] < at["attention"]) * 12 / 11, abs=0.1
        )
    unseen = next(xy for xy, a in zip(tiles.xy, one.layer("attention").explained.attention, strict=True) if a != a)
    assert one.at(*(unseen + 5))["tile"]["note"].startswith("not looked at")
    cells = one.layer("cells").cells
    assert one.at(float(cells.x[3]), float(cells.y[3]))["cell"]["class"] == "tumor"
    assert one.facts["call"]
    assert one.facts["cautions"]
    one.close()


def test_similar_tiles_are_the_nearest_by_brute_force_and_come_from_the_training_cohort_too(home: Path, find) -> None:
    shown = find(home / "scores")
    one = shown.slides["s0"].open()
    xy = one.layer("attention").explained.tiles.xy
    x, y = (xy[4] + 10).tolist()
    answer = one.similar(x, y, 9)
    study_slides = find(home / "run").slides
    features, places = [], []
    for name in study_slides:
        opened_ = study_slides[name].open()
        bag = opened_.similar.own.bag
        features.append(np.asarray(bag.features))
        places += [(name, *corner) for corner in bag.xy.tolist()]
        opened_.close()
    every = np.concatenate(features)
    every = every / np.linalg.norm(every, axis=1, keepdims=True)
    cosines = every @ every[places.index(("s0", *xy[4].tolist()))]
    best = np.sort(cosines)[::-1][1:10]
    np.testing.assert_allclose([h["cosine"] for h in answer["hits"]], best, atol=1e-4)
    assert [h["training"] for h in answer["hits"]] == [True] * 9  # these slides were in training
    assert {h["slide"] for h in answer["hits"]} <= {"s0", None}
    assert f"{len(places):,} tiles of this slide and of 15 of 15 slides of the training cohort" in answer["of"]
    assert one.similar(-500, -500, 3) == {"of": "There is no analyzed tile here.", "hits": []}
    one.close()
    inside = study_slides["s0"].open()
    assert all(h["picture"].startswith(f"/slides/{h['slide']}/crop.jpg?") for h in inside.similar(x, y, 9)["hits"])
    inside.close()


def test_a_study_explains_each_patient_by_the_model_that_never_saw_it(home: Path, find) -> None:
    from kras_plugins.bags import read_bag
    from kras_plugins.data import Sample
    from kras_plugins.study.apply import open_bundle

    shown = find(home / "run")
    assert shown.report == home / "run" / "report.html"
    with (home / "run" / "predictions.csv").open() as f:
        folds = {row["patient_id"]: int(row["fold"]) for row in csv.DictReader(f)}
    with opened(settings(home)) as session:
        bundle = open_bundle(session, home / "run" / "bundle")
        for name in ("s0", "s3"):
            one = shown.slides[name].open()
            layer = one.layer("contribution")
            fold = folds[f"p{name[1:]}"]
            assert f"fold {fold}, which never saw this patient" in layer.note
            artifacts = json.loads((home / "run" / "manifest.json").read_text())["slides"][name]["artifacts"]
            bag = read_bag(session.store.at(artifacts["bag"]) / "bag.h5", name)
            (he,) = (m for m in bundle.members if m.name == "he")
            alone = he.folds[fold - 1].classifier.explain(Sample(patient_id="p", bags=(bag,)))
            expected = np.sort(alone.values) * he.folds[fold - 1].platt.slope
            np.testing.assert_allclose(np.sort(layer.values[np.isfinite(layer.values)]), expected, rtol=1e-5)
            one.close()


def test_an_external_study_and_a_profile_are_shown_too(home: Path, find) -> None:
    one = find(home / "external").slides["s2"].open()
    assert ids(one) == ["tissue", "attention", "contribution", "regions", "cells"]
    assert "Mean over the bundle's models" in one.layer("attention").note
    one.close()
    one = find(home / "profiles").slides["s0"].open()
    assert ids(one) == ["tissue", "regions", "cells"]
    assert one.missing == {}
    one.close()


def test_what_the_store_no_longer_has_is_missing_with_the_remedy(
    home: Path, assessable: Path, find, tmp_path: Path
) -> None:
    one = find(assessable, store=tmp_path / "empty").slides["s0"].open()
    assert ids(one) == ["attention", "contribution"]
    assert set(one.missing) == {"Tissue and what was left out", "Epithelium and stroma", "Cells"}
    assert all("run the same command again" in why for why in one.missing.values())
    assert one.layer("contribution").legend[2].count is None
    one.close()
    one = find(home / "run", store=tmp_path / "empty").slides["s0"].open()
    assert ids(one) == []
    assert "run the same command again" in one.missing["Contribution"]
    one.close()


def test_slides_that_were_moved_are_found_by_their_content(home: Path, find, tmp_path: Path) -> None:
    copy, store = tmp_path / "scores", tmp_path / "store"
    shutil.copytree(home / "scores", copy)
    find(copy).slides["s0"].open().close()  # the store of this machine knows where it lies
    with pytest.raises(SlideError, match="no longer where it was") as caught:
        find(copy, store=store).slides["s0"].open()
    assert "--slides" in caught.value.hint
    (tmp_path / "archive").mkdir()
    for i, name in ((0, "renamed"), (1, "s0")):  # another slide has its name now
        shutil.copy(home / "slides" / f"s{i}.tiff", tmp_path / "archive" / f"{name}.tiff")
    one = find(copy, slides=tmp_path / "archive", store=store).slides["s0"].open()
    assert one.slide.ref.path == tmp_path / "archive" / "renamed.tiff"
    assert "attention" in ids(one)
    one.close()
    (tmp_path / "slides").mkdir()
    shutil.copy(home / "slides" / "s1.tiff", tmp_path / "slides" / "s0.tiff")  # where the copy looks for s0
    with pytest.raises(SlideError, match="not the slide of the result"):
        find(copy, store=store).slides["s0"].open()
    find(copy, slides=tmp_path / "archive", store=store).slides["s0"].open().close()


def test_manifests_say_where_slides_lie_but_not_under_pseudonyms(home: Path, tmp_path: Path) -> None:
    facts = json.loads((home / "run" / "manifest.json").read_text())["slides"]["s3"]
    assert facts["path"] == "../slides/s3.tiff"
    assert facts["patient_id"] == "p3"
    assert set(facts["artifacts"]) == {"tissue", "bag", "map"}
    hidden = settings(home).having(pseudonyms=tmp_path / "names.json")
    study.profile([home / "slides" / "s0.tiff"], hidden, out=tmp_path / "out", geojson=False)
    (call,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["calls"]
    assert [one["path"] for one in call["slides"].values()] == [None]


def test_what_is_no_result_is_named(home: Path, find, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a finished result"):
        find(tmp_path)
    with pytest.raises(UsageError, match="cannot be combined"):
        find(home / "scores", home / "slides" / "s0.tiff")
