"""Outputs name files relative to themselves, and nobody's home."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from quick_study import quick

from kras_plugins.files.portable import portable
from kras_plugins.study import train


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody whose name is nobody's business."""
    folder = tmp_path / "alice.archer"
    (folder / "study" / "out").mkdir(parents=True)
    (folder / "study" / "my slides").mkdir()
    (folder / "study" / "my slides" / "a b.svs").touch()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_what_lies_near_is_relative_to_the_folder(home: Path) -> None:
    out = home / "study" / "out"
    slide = home / "study" / "my slides" / "a b.svs"
    assert portable(str(slide), out) == "../my slides/a b.svs"
    assert portable(slide, out) == "../my slides/a b.svs"
    assert portable(str(out / "bundle"), out) == "bundle"
    assert portable(str(out), out) == "."
    assert portable(f"{slide}: is empty (see {out}/x.log)", out) == "../my slides/a b.svs: is empty (see x.log)"


def test_what_lies_elsewhere_keeps_its_name_alone(home: Path) -> None:
    out = Path("/srv/results/out")
    assert portable(f"{home}/study/out", out) == "out"
    assert portable(f"cannot read {home}/gone/cohort.csv: why", out) == "cannot read gone/cohort.csv: why"
    assert portable("/home/bob/x.svs", Path("/home/carol/out")) == "x.svs"
    assert portable("/usr/lib/python3/site-packages/w.safetensors: bad", out) == "w.safetensors: bad"
    assert portable(str(home), out) == "home"
    assert portable("~/x.csv", out) == "x.csv"


@pytest.mark.parametrize(
    "text",
    [
        "https://hub.org/etc/x.bin",
        "hf:owner/name/file",
        "1/4",
        "cells / mm²",
        "a/b/c.svs",
        "../slides/x.svs",
        "",
        "/",
        "per mm²/usr",
    ],
)
def test_what_is_no_absolute_path_stays(text: str, home: Path) -> None:
    out = home / "study" / "out"
    assert portable(text, out) == text
    assert portable(portable(text, out), out) == portable(text, out)


def test_values_are_kept_at_any_depth(home: Path) -> None:
    out = home / "study" / "out"
    value = {"a": [1, None, 2.5, True, {"b": (f"{home}/study/cohort.csv",)}]}
    assert portable(value, out) == {"a": [1, None, 2.5, True, {"b": ("../cohort.csv",)}]}


def test_a_study_names_no_home_and_is_finished_where_it_was_moved_to(tables: Path, home: Path) -> None:
    study = home / "study"
    for name in ("cohort.csv", "LUAD.csv", "LUSC.csv"):
        shutil.copy(tables / name, study / name)
    settings = quick(study, home / "store", covariates=study / "cohort.csv")
    command = ("kras", "run", str(study / "cohort.csv"), f"--out={study}/out")
    train(study / "cohort.csv", settings, out=study / "out", command=command)
    told = {f: f.read_bytes() for f in (study / "out").rglob("*") if f.is_file()}
    assert [str(f) for f, content in told.items() if home.name.encode() in content] == []
    manifest = json.loads((study / "out" / "manifest.json").read_text())
    assert manifest["config"]["cohort"] == "../cohort.csv"
    assert manifest["command"] == ["kras", "run", "../cohort.csv", "--out=../out"]
    moved = home / "elsewhere"
    study.rename(moved)
    settings = quick(moved, home / "store", covariates=moved / "cohort.csv")
    assert train(moved / "cohort.csv", settings, out=moved / "out").done_before
