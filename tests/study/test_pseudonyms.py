"""Pseudonyms: nothing that is written or reported has the name of a patient or slide; only the key file has them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cohorts import draw_tables, kras, read_rows, write_rows
from networks import lay_networks

from kras_plugins import study
from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.study.pseudonyms import Names, hide_now
from kras_plugins.testing import draw_slide

PLANTED = "ACC20391"
"""Part of every id and name of a file that a test plants."""


class Heard(study.Silent):
    """A Notify that keeps all that is reported to it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def tiles(self, slide_id: str, stage: str, done: int, total: int) -> None:
        self.said.append(slide_id)

    def finished(self, slide_id: str, failure: KrasError | None) -> None:
        self.said += [slide_id, str(failure), repr(failure and failure.__cause__)]

    def step(self, what: str, done: int, total: int) -> None:
        self.said.append(what)

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str, trace: str = "") -> None:
        self.said += [text, trace]


def betrayed(folder: Path, planted: str = PLANTED) -> list[str]:
    """The files below a folder whose name, or content as bytes, contains a planted name in any case."""
    files = [path for path in folder.rglob("*") if planted.lower() in path.name.lower()]
    read = [
        path for path in folder.rglob("*") if path.is_file() and planted.encode().lower() in path.read_bytes().lower()
    ]
    return [str(path.relative_to(folder)) for path in {*files, *read}]


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A folder of two slides, named as a scanner names them, one of them damaged."""
    (tmp_path / "scans").mkdir()
    draw_slide(tmp_path / "scans" / f"{PLANTED}-1.tiff", seed=0, size_um=(400.0, 400.0))
    (tmp_path / "scans" / f"{PLANTED}-2.tiff").write_bytes(b"II*\0 no slide")
    lay_networks(tmp_path / "store")
    return tmp_path / "scans"


def settings(tmp_path: Path, **more: Any) -> study.StudySettings:
    return study.StudySettings(
        pseudonyms=tmp_path / "who.json", cache=tmp_path / "store", workers=1, **more
    ).with_options("extractor.vit.model=vit-mini")


def called(tmp_path: Path) -> dict[str, str]:
    """Pseudonym of each slide."""
    return {name: pseudonym for pseudonym, name in json.loads((tmp_path / "who.json").read_text())["slides"].items()}


def test_bags_profiles_and_what_is_told_hold_pseudonyms_alone(tmp_path: Path, slides: Path) -> None:
    heard = Heard()
    done = study.embed(slides, settings(tmp_path), out=tmp_path / "bags", notify=heard)
    name = called(tmp_path)[f"{PLANTED}-1"]
    assert [one.slide_id for one in done.slides] == [name]
    assert (tmp_path / "bags" / f"{name}.h5").is_file()
    assert [one.slide_id for one in done.failures] == [called(tmp_path)[f"{PLANTED}-2"]]
    files = sorted(slides.iterdir())
    profiled = study.profile(files, settings(tmp_path), out=tmp_path / "cells", overlay=True, notify=heard)
    assert profiled.added == (name,)
    with pytest.raises(ConfigError, match="contains results of another call: pseudonyms"):
        study.embed(slides, settings(tmp_path).having(pseudonyms=None), out=tmp_path / "bags")
    assert not betrayed(tmp_path / "bags") and not betrayed(tmp_path / "cells")
    assert PLANTED not in "\n".join(heard.said)
    assert (tmp_path / "who.json").stat().st_mode & 0o777 == 0o600


def test_a_store_that_knows_a_slide_by_name_does_not_betray_it(tmp_path: Path, slides: Path) -> None:
    (slides / f"{PLANTED}-2.tiff").unlink()
    plain = settings(tmp_path).having(pseudonyms=None)
    study.profile(slides, plain, out=tmp_path / "plain")
    assert betrayed(tmp_path / "plain")
    study.profile(slides, settings(tmp_path), out=tmp_path / "cells")
    assert not betrayed(tmp_path / "cells")


def test_errors_that_end_a_call_hold_pseudonyms(tmp_path: Path, slides: Path) -> None:
    (slides / f"{PLANTED}-1.tiff").unlink()
    with pytest.raises(ConfigError, match="no slide could be used") as e:
        study.embed(slides / f"{PLANTED}-2.tiff", settings(tmp_path), out=tmp_path / "bags")
    assert PLANTED not in str(e.value)
    assert e.value.__cause__ is None
    with pytest.raises(ConfigError) as gone:
        study.embed(slides / f"{PLANTED}-3.tiff", settings(tmp_path), out=tmp_path / "bags")
    assert PLANTED not in str(gone.value)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A cohort with finished features, covariates and folds by the ids of its patients."""
    draw_tables(tmp_path)
    rows = read_rows(tmp_path / "cohort.csv")
    named = {row["patient_id"]: f"{PLANTED}-{i:02}" for i, row in enumerate(rows)}
    write_rows(
        tmp_path / "cohort.csv",
        [{**row, "patient_id": named[row["patient_id"]], "slide_id": f"S-{named[row['patient_id']]}"} for row in rows],
    )
    tables = [row for table in ("LUAD.csv", "LUSC.csv") for row in read_rows(tmp_path / table)]
    features = [
        {
            "slide_id": f"S-{named[row['case']]}",
            **{k: v for k, v in row.items() if k.startswith(("DENSITY 0", "DENSITY 1"))},
        }
        for row in tables
    ]
    columns = sorted({column for row in features for column in row} - {"slide_id"})
    once = {row["slide_id"]: {"slide_id": row["slide_id"], **{c: row.get(c, "") for c in columns}} for row in features}
    write_rows(tmp_path / "features.csv", list(once.values()))
    write_rows(
        tmp_path / "more.csv", [{"patient_id": name, "sex": "fm"[i % 2]} for i, name in enumerate(named.values())]
    )
    return tmp_path / "cohort.csv"


def test_a_study_joins_its_tables_by_name_and_writes_pseudonyms(tmp_path: Path, cohort: Path) -> None:
    split = kras("cohort", "split", cohort, "--out", "folds.csv", "--folds", "2", cwd=tmp_path, store=tmp_path)
    assert split.returncode == 0, split.stderr
    heard = Heard()
    chosen = (
        settings(tmp_path, classifiers=("rf",), covariates=tmp_path / "more.csv", folds_file=tmp_path / "folds.csv")
        .with_tables([tmp_path / "features.csv"])
        .with_options("classifier.rf.trees=10")
    )
    words = ["kras", "run", str(cohort), "--patient", f"{PLANTED}-01"]
    done = study.train(cohort, chosen, out=tmp_path / "out", notify=heard, command=words)
    dealt = {row["patient_id"]: row for row in read_rows(tmp_path / "folds.csv")}
    who = json.loads((tmp_path / "who.json").read_text())["patients"]
    for row in done.predictions.to_pylist():
        assert str(row["fold"]) == next(v for k, v in dealt[who[row["patient_id"]]].items() if k.startswith("fold"))
    assert not betrayed(tmp_path / "out")
    assert PLANTED not in "\n".join(heard.said)
    assert study.train(cohort, chosen, out=tmp_path / "out").done_before
    scored = study.score(done.bundle, cohort, chosen.having(folds_file=None), out=tmp_path / "scores", command=words)
    assert set(scored.added) == set(who)
    assert not betrayed(tmp_path / "scores")
    with pytest.raises(ConfigError, match="another study"):
        study.train(cohort, chosen.having(pseudonyms=tmp_path / "others.json"), out=tmp_path / "out")


def test_the_file_stays_outside_of_the_study(tmp_path: Path, slides: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path / "out")
    for place in (tmp_path / "out" / "who.json", tmp_path / "way" / "deep" / "who.json"):
        inside = settings(tmp_path).having(pseudonyms=place)
        with pytest.raises(ConfigError, match="keep --pseudonyms outside"):
            study.embed(slides, inside, out=tmp_path / "out")
        assert not place.exists()


@pytest.mark.parametrize("damage", [lambda f: f.mkdir(), lambda f: f.write_text("{}"), lambda f: f.write_text("x,y\n")])
def test_a_file_that_is_no_key_is_named_and_left_alone(
    tmp_path: Path, slides: Path, damage: Callable[[Path], object]
) -> None:
    damage(tmp_path / "who.json")
    with pytest.raises(ConfigError, match=r"who\.json: contains no key of pseudonyms"):
        study.embed(slides, settings(tmp_path), out=tmp_path / "out")


def test_calls_at_once_share_a_key_and_lose_no_name(tmp_path: Path) -> None:
    folders = [tmp_path / f"{i}" for i in range(8)]

    def add(folder: Path) -> None:
        from kras_plugins.cohort.table import bare_slides

        names = Names(tmp_path / "who.json")
        names.begin(folder, [])
        names.table(bare_slides([folder / f"{PLANTED}-{folder.name}.tiff"]))

    threads = [threading.Thread(target=add, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(called(tmp_path)) == [f"{PLANTED}-{i}" for i in range(8)]
    assert len(set(called(tmp_path).values())) == 8


def test_short_names_are_replaced_where_they_are_names(tmp_path: Path) -> None:
    names = Names(tmp_path / "who.json")
    names.begin(tmp_path / "out", [Path("scans/12.svs"), Path("scans/Smith.svs")])
    assert names.hide("12 of 30 slides") == "12 of 30 slides"
    assert "12" not in names.hide("slide 12 and scans/12.svs").replace("id-", "").split()
    assert "12.svs" not in names.hide("cannot open 12.svs")
    assert "Smith" not in names.hide("Smith: no row; scans/Smith.svs is damaged")
    with names.kept():
        assert "Smith" not in hide_now("a slide was not closed: Smith.svs")
    assert hide_now("Smith") == "Smith"


def test_the_command_line_tells_pseudonyms(tmp_path: Path, slides: Path) -> None:
    words = ("embed", slides, "--out", "bags", "--pseudonyms", "who.json", "-o", "extractor.vit.model=vit-mini")
    ran = kras(*words, "--json", cwd=tmp_path, store=tmp_path / "store", KRAS_DEBUG="1")
    assert ran.returncode == 3, ran.stderr
    assert PLANTED not in ran.stdout + ran.stderr
    assert not betrayed(tmp_path / "bags")
