"""A foreign folder runs no code, asks no server and leads nowhere: settings files that are found, not named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cohorts import command
from networks import lay_networks
from platformdirs import user_cache_path

from kras_plugins.errors import ConfigError
from kras_plugins.host.trust import is_trusted, trust
from kras_plugins.store import user_config
from kras_plugins.study import StudySettings
from kras_plugins.study.session import opened
from kras_plugins.testing import draw_slide

EVIL = "from pathlib import Path\nPath({mark!r}).write_text('ran')\n"
COMPILED = user_cache_path("kras") / "compiled"
"""What numba compiled before, for a command that runs in another home."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody else's folder as the current folder, with a home of our own."""
    here = tmp_path / "foreign"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "KRAS_TRUST"):
        monkeypatch.delenv(name, raising=False)
    return here


def kras(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in that folder, with that home, and with a store beside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KRAS_")}
    return subprocess.run(
        command(*words),
        cwd=folder,
        env={**kept, "KRAS_CACHE": str(folder.parent / "store"), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("words", [("doctor",), ("plugin", "list"), ("model", "list"), ("run", "--dry-run")])
def test_no_command_imports_code_that_a_found_file_names(folder: Path, words: tuple[str, ...]) -> None:
    mark = folder.parent / "mark"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    (folder / "kras.toml").write_text('[run]\nplugins = ["evil.py"]\n')
    done = kras(folder, *words)
    assert done.returncode == 1 and not mark.exists()
    told = " ".join(done.stderr.split())
    for word in ("run.plugins", "kras trust kras.toml", "--config kras.toml"):
        assert word in told, told
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("trusted", ["record", "config", "variable"])
def test_trusted_or_named_it_is_read_as_before(folder: Path, trusted: str) -> None:
    mark = folder.parent / "mark"
    (folder / "mine.py").write_text(EVIL.format(mark=str(mark)))
    (folder / "kras.toml").write_text('[run]\nplugins = ["mine.py"]\n')
    words, env = ["plugin", "list"], {}
    if trusted == "record":
        assert kras(folder, "trust").returncode == 0
    elif trusted == "config":
        words += ["--config", "kras.toml"]
    else:
        env["KRAS_TRUST"] = "1"
    kras(folder, *words, **env)
    assert mark.exists()


def test_an_edited_file_asks_again_and_a_forgotten_one_too(folder: Path) -> None:
    file = folder / "kras.toml"
    file.write_text('[run]\ncache = "/elsewhere"\n')
    trust(file, file.read_bytes())
    assert StudySettings.load().cache == Path("/elsewhere")
    file.write_text('[run]\ncache = "/elsewhere/else"\n')
    with pytest.raises(ConfigError, match="edited since you trusted it"):
        StudySettings.load()
    assert kras(folder, "trust").returncode == 0
    assert StudySettings.load().cache == Path("/elsewhere/else")
    assert kras(folder, "trust", "--forget").returncode == 0
    with pytest.raises(ConfigError, match="was found here, not named"):
        StudySettings.load()


def test_trust_is_of_one_place(folder: Path, tmp_path: Path) -> None:
    content = b'[run]\ncache = "/elsewhere"\n'
    trust(folder / "kras.toml", content)
    assert is_trusted(Path("kras.toml"), content)
    assert not is_trusted(tmp_path / "kras.toml", content)
    assert list(json.loads((user_config() / "trusted.json").read_text())) == [str(folder / "kras.toml")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('[run]\ncache = "store"', "run.cache"),
        ('[run]\ncovariates = "../more.csv"', "run.covariates"),
        ('[run]\nfolds_file = "/elsewhere/folds.csv"', "run.folds_file"),
        ('[run]\npseudonyms = "who.json"', "run.pseudonyms"),
        ('[run]\nout = "../elsewhere"', "run.out"),
        ('[run]\nout = "/tmp/elsewhere"', "run.out"),
        ('[run]\nout = "~/elsewhere"', "run.out"),
        ('[run]\nout = "link/elsewhere"', "run.out"),
        ('[run]\ncohort = "../cohort.csv"', "run.cohort"),
        ('[run]\ndemonstration = ["https://somewhere"]', "run.demonstration"),
        ('[extractor.vit]\nmodel = "hf-hub:somebody/something"', "extractor.vit.model"),
        ('[profiler.import]\ncolumns = { x = "/etc/passwd" }', "profiler.import.columns"),
        ('[backend.triton]\nurl = "server:8001"', "backend.triton.url"),
        ('[backend.triton]\nca_file = "ca.pem"', "backend.triton.ca_file"),
        ('[extractor.vit]\nweights = "weights.safetensors"', "extractor.vit.weights"),
        ('[extractor.h5]\nfolder = "link"', "extractor.h5.folder"),
        ('[profiler.cells]\nmodel = "cells.onnx"', "profiler.cells.model"),
        ('[profiler.import]\ntable = "features.csv,../more.csv"', "profiler.import.table"),
    ],
)
def test_a_found_file_says_neither_where_things_lie_nor_whom_to_ask(folder: Path, text: str, name: str) -> None:
    (folder / "link").symlink_to(folder.parent)
    (folder / "kras.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"^kras\.toml: {name} ") as e, opened(StudySettings.load()):
        pass
    assert "kras trust" in e.value.hint and "--config" in e.value.hint


def test_of_a_link_it_is_told_where_it_leads(folder: Path) -> None:
    (folder / "cohort.csv").symlink_to(folder.parent / "elsewhere.csv")
    (folder / "kras.toml").write_text('[run]\ncohort = "cohort.csv"')
    with (
        pytest.raises(ConfigError, match=r"leads outside its folder, to '.*elsewhere\.csv'"),
        opened(StudySettings.load()),
    ):
        pass


def test_numbers_choices_plug_ins_and_a_cohort_of_its_folder_may_be_said_by_a_found_file(folder: Path) -> None:
    (folder / "kras.toml").write_text(
        """
        [run]
        cohort = "study/cohort.csv"
        out = "results"
        folds = 3
        fusion = "rank"
        extractor = "h5"
        backend = "local"
        classifiers = ["rf", "lgbm"]
        block = ["classifier:mlp"]
        [classifier.rf]
        trees = 7
        [extractor.h5]
        folder = "bags"
        [profiler.import]
        table = "features.csv"
        features = ["DENSITY *"]
        classes = { "tumor: positive" = "tumor", "stroma/other: CD8" = "lymphocyte" }
        """
    )
    with opened(StudySettings.load()) as session:
        assert (session.settings.folds, session.settings.cohort) == (3, Path("study/cohort.csv"))


def test_what_is_said_on_the_command_line_stands_above_the_found_file(folder: Path) -> None:
    (folder / "kras.toml").write_text('[extractor.vit]\nweights = "theirs.pth"\nmpp = 0.5\n')
    with opened(StudySettings.load(overrides=["extractor.vit.weights=mine.pth"])) as session:
        assert session.config.options["extractor"]["vit"] == {"weights": "mine.pth", "mpp": 0.5}
    (folder / "kras.toml").write_text('[run]\ncache = "theirs"\n')
    assert StudySettings.load(cache=Path("mine")).cache == Path("mine")
    (folder / "kras.toml").write_text('[extractor.vit]\nweights = "theirs.pth"\n')
    settings = StudySettings.load()
    with pytest.raises(ConfigError, match=r"extractor\.vit\.weights"), opened(settings.having(folds=3)):
        pass
    with opened(settings.with_options("extractor.vit.weights=mine.pth")):
        pass


def test_worker_processes_take_no_module_from_the_folder(folder: Path) -> None:
    draw_slide(folder / "slide.tiff", seed=1, size_um=(512.0, 512.0))
    lay_networks(folder.parent / "store")
    mark = folder.parent / "mark"
    for name in ("multiprocessing", "pickle", "numpy", "numba", "pyarrow"):
        (folder / f"{name}.py").write_text(EVIL.format(mark=str(mark)))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kras")), "profile", "slide.tiff", "--workers", "1", "--out", "out"],
        cwd=folder,
        env={**os.environ, "KRAS_CACHE": str(folder.parent / "store"), "NUMBA_CACHE_DIR": str(COMPILED)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert not mark.exists()


def test_a_pipe_under_the_name_of_a_settings_file_is_told_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "kras.toml")
    with pytest.raises(ConfigError, match="is a pipe"):
        StudySettings.load()
