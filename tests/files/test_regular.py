"""What is not a file is named as what it is, and never opened: reading a pipe or a device would never end."""

from __future__ import annotations

import gzip
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kras_extractor_h5 import H5Options
from kras_extractor_h5.files import load as load_bag
from kras_extractor_vit.described import described
from kras_plugins import SlideRef, Weights
from kras_plugins.bags import read_bag
from kras_plugins.cohort.covariates import join_covariates
from kras_plugins.cohort.delimited import read_table
from kras_plugins.cohort.table import read_cohort
from kras_plugins.errors import ConfigError, KrasError, UsageError
from kras_plugins.files.regular import SETTINGS, TABLE, open_unpacked, regular
from kras_plugins.host.config import load_config, read_toml
from kras_plugins.host.loose_files import import_file
from kras_plugins.host.manager import discover
from kras_plugins.models.weights import locate
from kras_plugins.pretraining.recipe import read_recipe
from kras_plugins.pretraining.tiles import _read_image
from kras_plugins.probing.labelled import read_pixels, read_tiles
from kras_plugins.slides.slide import open_slide
from kras_plugins.store import file_sha256
from kras_plugins.study.inputs import slides_of
from kras_plugins.study.outputs import read_json
from kras_plugins.study.settings import StudySettings
from kras_profiler_cells import CellsOptions
from kras_profiler_cells.foreign import inspect
from kras_profiler_import import ImportOptions
from kras_profiler_import.cells import load_map
from kras_profiler_import.features import load_row


def slide(path: Path) -> SlideRef:
    return SlideRef(patient_id="p", slide_id=path.name.split(".")[0], path=path, mpp=0.5)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "slide": (".tiff", lambda f: open_slide(slide(f), ())),
    "slide of a call": (".svs", lambda f: slides_of([f], discover(()))),
    "cohort": (".csv", lambda f: read_cohort(f, "g12c")),
    "cohort of a call": (".csv", lambda f: slides_of([f], discover(()))),
    "mutations": (".maf", lambda f: read_table(f, {})),
    "covariates": (".tsv", lambda f: join_covariates((), f)),
    "settings": (".toml", read_toml),
    "settings of a study": (".toml", lambda f: StudySettings.load(f)),
    "recipe": (".toml", lambda f: read_recipe(f, ())),
    "manifest": (".json", read_json),
    "plug-in": (".py", import_file),
    "labelled tiles": (".csv", read_tiles),
    "tile": (".png", read_pixels),
    "image to train on": (".png", _read_image),
    "bag": (".h5", read_bag),
    "bag of a slide": (".h5", lambda f: load_bag(slide(f), H5Options())),
    "cells": (".geojson", lambda f: load_map(slide(f), ImportOptions())),
    "cells by name": (".csv", lambda f: load_map(slide(f), ImportOptions(cells=str(f.parent)))),
    "features": (".csv", lambda f: load_row(slide(f), ImportOptions(table=(f,)))),
    "features in Parquet": (".parquet", lambda f: load_row(slide(f), ImportOptions(table=(f,)))),
    "weights": (".safetensors", lambda f: locate(Weights(source=str(f), licence=""))),
    "weights in a folder": (".safetensors", lambda f: locate(Weights(source=str(f.parent), licence=""))),
    "model": (".onnx", lambda f: inspect(CellsOptions(model=str(f)))),
    "digest": (".bin", file_sha256),
}  # fmt: skip


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = {"pipe": make_pipe, "socket": make_socket, "device": make_device}


@pytest.fixture(autouse=True)
def _no_endless_wait() -> Iterator[None]:
    """Opening a pipe would wait forever: the test then fails, and does not hang."""

    def fail(*_: object) -> None:
        raise AssertionError("it was opened")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", READERS)
def test_what_is_no_file_is_refused_by_its_kind(what: str, kind: str, tmp_path: Path) -> None:
    suffix, read = READERS[what]
    path = tmp_path / f"given{suffix}"
    KINDS[kind](path)
    with pytest.raises(KrasError) as e:
        read(path)
    assert str(path) in e.value.message
    assert f"a {kind}" in e.value.message
    assert e.value.hint


def test_weights_that_are_no_file_describe_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    assert described(tmp_path / "w.safetensors") is None  # reported where they are loaded


def test_a_call_with_a_pipe_is_wrong_usage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.svs")
    with pytest.raises(UsageError, match="a pipe"):
        slides_of([tmp_path / "a.svs"], discover(()))


@pytest.mark.parametrize("read", [read_toml, lambda f: read_cohort(f, "g12c"), read_json])
def test_a_folder_is_no_file(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder"):
        read(tmp_path)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "kras.toml").write_text("[run]\nfolds = 3\n")
    (tmp_path / "link.toml").symlink_to("kras.toml")
    assert read_toml(tmp_path / "link.toml")[0] == {"run": {"folds": 3}}
    assert regular(tmp_path / "link.toml") == tmp_path / "link.toml"


def sparse(path: Path, size: int) -> Path:
    """A file of a size that takes no room."""
    with path.open("wb") as f:
        f.truncate(size)
    return path


@pytest.mark.parametrize(
    ("name", "bound", "read"),
    [
        ("kras.toml", SETTINGS, read_toml),
        ("recipe.toml", SETTINGS, lambda f: read_recipe(f, ())),
        ("cohort.csv", TABLE, lambda f: read_cohort(f, "g12c")),
        ("covariates.csv", TABLE, lambda f: join_covariates((), f)),
        ("features.csv", TABLE, lambda f: load_row(slide(f), ImportOptions(table=(f,)))),
    ],
)
def test_a_text_that_is_too_large_is_named_with_its_size_and_the_bound(
    name: str, bound: int, read: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as e:
        read(sparse(tmp_path / name, bound + 1))
    assert name in e.value.message
    assert f"{bound + 1:,} bytes" in e.value.message
    assert f"{bound:,}" in e.value.message


@pytest.mark.parametrize("name", ["table.csv.gz", "table.csv"])
def test_what_unpacks_to_more_than_the_bound_is_cut_off(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"a" * 100_000, mtime=0))
    with open_unpacked(tmp_path / name, 100_000) as f:
        assert len(f.read()) == 100_000
    with open_unpacked(tmp_path / name, 99_999) as f, pytest.raises(ConfigError, match="at most 99,999"):
        f.read()


DEEP = {
    "lists": "a = " + "[" * 5000 + "]" * 5000,
    "tables": "a = " + "{a=" * 3000 + "1" + "}" * 3000,
    "dotted": ".".join("a" * 5000) + " = 1",
    "header": "[" + ".".join("a" * 5000) + "]",
    "barely": "a = " + "[" * 33 + "]" * 33,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=list(DEEP))
def test_settings_that_nest_too_deeply_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "kras.toml").write_text(text)
    for read in (read_toml, load_config, StudySettings.load, lambda f: read_recipe(f, ())):
        with pytest.raises(ConfigError, match="nest"):
            read(tmp_path / "kras.toml")


@pytest.mark.parametrize("name", ["folds", "repeats", "seed", "workers", "deadline", "import_deadline"])
@pytest.mark.parametrize("number", ["9" * 5000, "9" * 400, "99999999999999999999", "1e308", "inf", "nan"])
def test_a_number_that_nothing_can_hold_is_refused_by_its_name(name: str, number: str, tmp_path: Path) -> None:
    (tmp_path / "kras.toml").write_text(f"[run]\n{name} = {number}\n")
    with pytest.raises(ConfigError) as e:
        StudySettings.load(tmp_path / "kras.toml")
    assert "kras.toml" in e.value.message


def test_an_option_that_nests_too_deeply_is_a_text() -> None:
    deep = "[" * 5000
    assert load_config(None, [f"extractor.vit.model={deep}"]).options["extractor"]["vit"]["model"] == deep
