"""Nothing is silently overwritten: the same call resumes, any other is an error that names what differs."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cohorts import kras, read_rows, write_rows
from quick_study import quick

from kras_plugins import study
from kras_plugins.errors import ConfigError
from kras_plugins.learning.seal import check_seal
from kras_plugins.study.results import Training


@pytest.fixture
def home(tables: Path, done: Training, tmp_path: Path) -> Path:
    """A copy of the finished training beside its tables."""
    shutil.copytree(tables, tmp_path / "home")
    shutil.copytree(done.folder.parent / "store", tmp_path / "home/store")
    return tmp_path / "home"


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_same_call_again_gives_the_finished_study_and_writes_nothing(tables: Path, done: Training) -> None:
    before = {f: f.stat().st_mtime_ns for f in done.folder.rglob("*")}
    again = study.train(tables / "cohort.csv", quick(tables, done.folder.parent / "store"), out=done.folder)
    assert again.done_before and again.predictions.equals(done.predictions)
    assert {f: f.stat().st_mtime_ns for f in done.folder.rglob("*")} == before


def test_another_study_in_the_same_folder_is_refused_and_the_first_stays(home: Path) -> None:
    out, settings = home / "out", quick(home, home / "store")
    study.train(home / "cohort.csv", settings, out=out)
    before = bytes_of(out)
    others = {
        "folds: 3 there, 4 now": settings.having(folds=4),
        "classifiers: rf there, rf, lgbm now": settings.having(classifiers=("rf", "lgbm")),
        "target_sensitivity: 0.9 there, 0.8 now": settings.having(target_sensitivity=0.8),
        "options.classifier.rf.trees: 50 there, 60 now": settings.with_options("classifier.rf.trees=60"),
    }
    for difference, other in others.items():
        with pytest.raises(ConfigError, match="contains another study") as caught:
            study.train(home / "cohort.csv", other, out=out)
        assert difference in caught.value.message
        assert "--overwrite" in caught.value.hint and "--out" in caught.value.hint
    rows = read_rows(home / "cohort.csv")
    rows[0]["g12c"] = str(1 - int(rows[0]["g12c"]))
    write_rows(home / "cohort.csv", rows)
    with pytest.raises(ConfigError, match=r"files\.cohort: [0-9a-f]+.* there"):
        study.train(home / "cohort.csv", settings, out=out)
    assert bytes_of(out) == before


def test_features_that_changed_are_another_study(home: Path) -> None:
    settings = quick(home, home / "store")
    study.train(home / "cohort.csv", settings, out=home / "out")
    with (home / "LUAD.csv").open("a") as f:
        f.write("\n")
    with pytest.raises(ConfigError, match="LUAD"):
        study.train(home / "cohort.csv", settings, out=home / "out")


def test_overwrite_replaces_the_study_and_nothing_else(home: Path) -> None:
    out, settings = home / "out", quick(home, home / "store")
    study.train(home / "cohort.csv", settings, out=out)
    (out / "mine.txt").write_text("a note")
    other = study.train(home / "cohort.csv", settings.having(folds=4), out=out, overwrite=True)
    assert not other.done_before
    assert json.loads((out / "manifest.json").read_text())["config"]["folds"] == 4
    assert {r["fold"] for r in read_rows(out / "predictions.csv")} == {"1", "2", "3", "4"}
    assert (out / "mine.txt").read_text() == "a note"


def test_where_things_lie_and_how_fast_they_go_is_no_difference(home: Path) -> None:
    settings = quick(home, home / "store")
    study.train(home / "cohort.csv", settings, out=home / "out")
    moved = home.parent / "moved"
    shutil.move(home, moved)
    again = study.train(moved / "cohort.csv", quick(moved, moved / "store", workers=2, deadline=5.0), out=moved / "out")
    assert again.done_before


def test_an_unfinished_study_goes_on_to_the_same_bytes(home: Path) -> None:
    settings, out = quick(home, home / "store"), home / "out"
    whole = study.train(home / "cohort.csv", settings, out=out)
    before = bytes_of(out)
    for lost in (["manifest.json"], ["manifest.json", "metrics.json"], ["report.html"]):
        for name in lost:
            (out / name).unlink()
        again = study.train(home / "cohort.csv", settings, out=out)
        assert not again.done_before and again.predictions.equals(whole.predictions)
        same = {
            name: content for name, content in bytes_of(out).items() if name not in ("manifest.json", "report.html")
        }
        assert same == {k: v for k, v in before.items() if k in same}


def test_an_output_that_was_changed_is_told_and_kept(home: Path) -> None:
    settings, out = quick(home, home / "store"), home / "out"
    study.train(home / "cohort.csv", settings, out=out)
    with (out / "predictions.csv").open("a") as f:
        f.write("a remark\n")
    with pytest.raises(ConfigError, match=r"predictions\.csv was changed since"):
        study.train(home / "cohort.csv", settings, out=out)
    assert "a remark" in (out / "predictions.csv").read_text()


def test_results_that_no_study_wrote_are_not_overwritten(home: Path) -> None:
    (home / "out").mkdir()
    (home / "out/metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"contains metrics\.json of another study"):
        study.train(home / "cohort.csv", quick(home, home / "store"), out=home / "out")


def test_the_command_says_so_and_exits_with_0_or_1(home: Path) -> None:
    words = ("run", "--classifiers", "rf", "--profile-table", "LUAD.csv,LUSC.csv", "-o", "classifier.rf.trees=50")
    first = kras(*words, cwd=home, store=home / "store")
    assert first.returncode == 0, first.stderr
    again = kras(*words, cwd=home, store=home / "store")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "contains this study, finished; nothing was computed" in " ".join(again.stderr.split())
    other = kras(*words, "--seed", "1", cwd=home, store=home / "store")
    assert other.returncode == 1 and other.stdout == ""
    assert "kras-out/cohort contains another study: seed: 0 there, 1 now" in " ".join(other.stderr.split())
    replaced = kras(*words, "--seed", "1", "--overwrite", cwd=home, store=home / "store")
    assert replaced.returncode == 0, replaced.stderr


def test_a_validation_folder_belongs_to_one_bundle_and_cohort(home: Path, done: Training) -> None:
    settings = quick(home, home / "store")
    first = study.validate(done.bundle, home / "cohort.csv", settings, out=home / "ext")
    assert study.validate(done.bundle, home / "cohort.csv", settings, out=home / "ext").done_before
    assert (first.auroc().n, first.auroc(among="all_patients").n) == (21, 42)
    with pytest.raises(ConfigError, match="prevalences: none there, 0.2 now"):
        study.validate(done.bundle, home / "cohort.csv", settings.having(prevalences=(0.2,)), out=home / "ext")


def some(home: Path, name: str, patients: slice) -> Path:
    """A cohort of some of the patients."""
    with (home / "cohort.csv").open(newline="") as f:
        write_rows(home / name, list(csv.DictReader(f))[patients])
    return home / name


def test_scoring_adds_patients_and_drops_none(home: Path, done: Training) -> None:
    settings, out = quick(home, home / "store"), home / "scores"
    study.score(done.bundle, some(home, "a.csv", slice(0, 5)), settings, out=out)
    first = read_rows(out / "predictions.csv")
    second = study.score(done.bundle, some(home, "b.csv", slice(3, 9)), settings, out=out)
    rows = read_rows(out / "predictions.csv")
    assert rows[:5] == first and len(rows) == 9 == second.predictions.num_rows
    assert len(second.added) == 6
    manifest = json.loads((out / "manifest.json").read_text())
    assert [len(call["patients"]) for call in manifest["calls"]] == [5, 6]
    assert manifest["bundle_digest"] == json.loads((done.manifest).read_text())["bundle_digest"]


def test_scores_of_another_bundle_or_prevalence_do_not_join(home: Path, done: Training) -> None:
    settings, out = quick(home, home / "store"), home / "scores"
    few = some(home, "a.csv", slice(0, 3))
    assert study.score(done.bundle, few, settings, out=out).heat_maps == {}, "no member looks at tiles"
    other = study.train(home / "cohort.csv", settings.having(seed=5), out=home / "other")
    before = (out / "predictions.csv").read_bytes()
    with pytest.raises(ConfigError, match="contains results of another call: bundle_digest"):
        study.score(other.bundle, few, settings, out=out)
    with pytest.raises(ConfigError, match="prevalence: 0.4285.* there, 0.1 now"):
        study.score(done.bundle, few, settings, out=out, prevalence=0.1)
    assert (out / "predictions.csv").read_bytes() == before
    replaced = study.score(other.bundle, some(home, "b.csv", slice(3, 5)), settings, out=out, overwrite=True)
    assert replaced.predictions.num_rows == 2


def test_the_same_patient_with_other_slides_is_refused(home: Path, done: Training) -> None:
    settings, out = quick(home, home / "store"), home / "scores"
    few = some(home, "a.csv", slice(0, 3))
    study.score(done.bundle, few, settings, out=out)
    rows = read_rows(few)
    rows[1]["slide_id"] = "another"
    write_rows(home / "c.csv", rows)
    with pytest.raises(ConfigError, match=f"contains patient {rows[1]['patient_id']} with .*, now another"):
        study.score(done.bundle, home / "c.csv", settings, out=out)
    assert len(read_rows(out / "predictions.csv")) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"slides": []}', '{"call": 1, "settings": "x"}'])
def test_a_damaged_identity_is_one_clear_error(content: str, home: Path) -> None:
    settings, out = quick(home, home / "store"), home / "out"
    study.train(home / "cohort.csv", settings, out=out)
    (out / "study.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        study.train(home / "cohort.csv", settings, out=out)
    assert str(out) in caught.value.message and "--overwrite" in caught.value.hint


@pytest.mark.parametrize("name", ["manifest.json", "predictions.csv", "failures.csv"])
@pytest.mark.parametrize("content", ["", '{"calls": [1]}', 'a,b\n"1,2,3\n4'])
def test_a_damaged_folder_of_scores_is_never_added_to_without_a_word(
    name: str, content: str, home: Path, done: Training
) -> None:
    settings, out = quick(home, home / "store"), home / "scores"
    study.score(done.bundle, some(home, "a.csv", slice(0, 3)), settings, out=out)
    kept = {f.name: f.read_bytes() for f in out.iterdir() if f.name != name}
    (out / name).write_text(content)
    more = some(home, "b.csv", slice(3, 5))
    with pytest.raises(ConfigError, match=str(out)) as caught:
        study.score(done.bundle, more, settings, out=out)
    assert caught.value.hint
    assert {f.name: f.read_bytes() for f in out.iterdir() if f.name in kept and f.suffix in (".csv", ".json")} == {
        n: kept[n] for n in kept if n.endswith((".csv", ".json"))
    }


def test_four_calls_at_once_lose_no_patient(home: Path, done: Training) -> None:
    settings, out = quick(home, home / "store"), home / "scores"
    parts = [some(home, f"part{i}.csv", slice(5 * i, 5 * i + 5)) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: study.score(done.bundle, part, settings, out=out), parts))
    assert len(read_rows(out / "predictions.csv")) == 20
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(len(call["patients"]) for call in manifest["calls"]) == [5, 5, 5, 5]


def test_of_two_first_calls_at_once_with_other_prevalences_one_is_refused(home: Path, done: Training) -> None:
    settings, out, few = quick(home, home / "store"), home / "scores", some(home, "a.csv", slice(0, 3))
    together = threading.Barrier(2)

    def call(prevalence: float) -> str:
        together.wait()
        try:
            study.score(done.bundle, few, settings, out=out, prevalence=prevalence)
        except ConfigError as e:
            return e.message
        return "done"

    with ThreadPoolExecutor(2) as pool:
        said = set(pool.map(call, (0.1, 0.2)))
    assert "done" in said and any("prevalence: " in text for text in said)


@pytest.mark.parametrize("content", ["", "{", '{"calls": [{"outputs": [3]}]}', '{"calls": [{"outputs": ["."]}]}'])
def test_overwriting_mends_a_damaged_folder_of_scores(content: str, home: Path, done: Training) -> None:
    settings, out, few = quick(home, home / "store"), home / "scores", some(home, "a.csv", slice(0, 3))
    study.score(done.bundle, few, settings, out=out)
    (out / "manifest.json").write_text(content)
    with pytest.raises(ConfigError):
        study.score(done.bundle, few, settings, out=out)
    assert study.score(done.bundle, few, settings, out=out, overwrite=True).predictions.num_rows == 3


def test_scores_do_not_join_a_table_of_other_columns(home: Path, done: Training) -> None:
    settings, out, few = quick(home, home / "store"), home / "scores", some(home, "a.csv", slice(0, 3))
    study.score(done.bundle, few, settings, out=out)
    (out / "predictions.csv").write_text("patient_id\nx\n")
    with pytest.raises(ConfigError, match=r"predictions\.csv is missing or damaged: its columns are not patient_id"):
        study.score(done.bundle, few, settings, out=out)


@pytest.mark.parametrize("prevalence", [0, 1.0, -0.1, float("nan")])
def test_a_prevalence_that_cannot_be_is_refused(prevalence: float, home: Path, done: Training) -> None:
    with pytest.raises(ConfigError, match="prevalence .* must lie strictly between 0 and 1"):
        study.score(done.bundle, home / "cohort.csv", out=home / "scores", prevalence=prevalence)
    assert not (home / "scores").exists()


def test_a_study_whose_bundle_lost_a_model_is_not_finished(home: Path) -> None:
    settings, out = quick(home, home / "store"), home / "out"
    first = study.train(home / "cohort.csv", settings, out=out)
    digest = check_seal(first.bundle)
    shutil.rmtree(first.bundle / "models/fold-0")
    assert not study.train(home / "cohort.csv", settings, out=out).done_before
    assert check_seal(first.bundle) == digest


def test_a_link_in_place_of_a_bundle_is_removed_and_what_it_names_stays(home: Path) -> None:
    settings, out = quick(home, home / "store"), home / "out"
    study.train(home / "cohort.csv", settings, out=out)
    (out / "bundle").rename(home / "kept")
    (out / "bundle").symlink_to(home / "kept")
    again = study.train(home / "cohort.csv", settings.having(seed=1), out=out, overwrite=True)
    assert not again.bundle.is_symlink() and (home / "kept/bundle.json").is_file()
