"""A study as it is called: the same from everywhere, silent, and without a trace in the process."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cohorts import environment, kras
from quick_study import quick

from kras_plugins import study
from kras_plugins.errors import ConfigError, KrasError
from kras_plugins.host import isolation
from kras_plugins.learning.seal import check_seal
from kras_plugins.store import default_place
from kras_plugins.study.results import Training

SAME = ("predictions.csv", "metrics.json", "failures.csv", "study.json")
OWN = {"command", "started", "finished", "timings", "platform"}
"""What may differ in manifests of the same study: how it was called, when, how long it took, and where."""


def outcome(folder: Path) -> dict[str, Any]:
    """What must be equal byte by byte, and what the manifest says about it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"] = {k: v for k, v in manifest["config"].items() if k not in ("out", "cache")}
    return {
        **{name: (folder / name).read_bytes() for name in SAME},
        "bundle": check_seal(folder / "bundle"),
        "manifest": {k: v for k, v in manifest.items() if k not in OWN and k != "outputs"},
        "outputs": {k: v for k, v in manifest["outputs"].items() if k != "report.html"},
    }


def test_command_line_settings_file_and_python_give_the_same_bytes(tables: Path, tmp_path: Path) -> None:
    settings = quick(tables, tmp_path / "a", classifiers=("rf", "lgbm"), splits="site", prevalences=(0.13,))
    study.train(tables / "cohort.csv", settings, out=tmp_path / "python")
    (tmp_path / "kras.toml").write_text(
        f"""
        [run]
        cohort = "{tables}/cohort.csv"
        profiler = "import"
        classifiers = ["rf", "lgbm"]
        folds = 3
        splits = "site"
        prevalences = [0.13]
        workers = 1
        out = "toml"
        [profiler.import]
        table = ["{tables}/LUAD.csv", "{tables}/LUSC.csv"]
        [classifier.rf]
        trees = 50
        """
    )
    of_file = kras("run", cwd=tmp_path, store=tmp_path / "b", KRAS_TRUST="1")
    assert of_file.returncode == 0, of_file.stderr
    (tmp_path / "elsewhere").mkdir()
    of_options = kras(
        "run", tables / "cohort.csv", "--classifiers", "rf,lgbm", "--folds", "3", "--splits", "site",
        "--prevalence", "0.13", "--workers", "1", "--profile-table", f"{tables}/LUAD.csv,{tables}/LUSC.csv",
        "-o", "classifier.rf.trees=50", "--out", tmp_path / "options", cwd=tmp_path / "elsewhere", store=tmp_path / "c",
    )  # fmt: skip
    assert of_options.returncode == 0, of_options.stderr
    python = outcome(tmp_path / "python")
    assert outcome(tmp_path / "toml") == python
    assert outcome(tmp_path / "options") == python


def test_the_result_is_typed_and_holds_what_was_written(done: Training) -> None:
    assert done.auroc().n == 21 and done.auroc().n_positive == 9, "half are squamous"
    assert str(done.auroc("prevalence")) == "0.500 (constant score), n=21, 9 positive"
    low, high = done.auroc().low, done.auroc().high
    assert low is not None and high is not None and low < high
    everyone = done.auroc("histology_only", among="all_patients")
    assert everyone.value is not None and everyone.n == done.auroc(among="all_patients").n == 42
    with pytest.raises(ConfigError, match="this study has no histology_only among in_scope") as refused:
        done.auroc("histology_only")
    assert "among all_patients" in str(refused.value.hint)
    with pytest.raises(ConfigError, match="no group of patients is called 'luad'"):
        done.auroc(among="luad")  # type: ignore[arg-type]
    assert done.predictions.num_rows == 42
    types = {field.name: str(field.type) for field in done.predictions.schema}
    assert (types["patient_id"], types["fold"], types["label"], types["rf"]) == ("string", "int32", "int32", "double")
    assert done.predictions.to_pandas()["rf"].between(0, 1).all()
    assert done.report.is_file() and (done.bundle / "bundle.json").is_file() and done.failures == ()
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert {"model-card.md", "tripod-ai.md", "stard-ai.md", "change-plan.md"} <= set(manifest["outputs"])
    assert manifest["bundle_digest"] in (done.folder / "change-plan.md").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="this study has no he among in_scope"):
        done.auroc("he")


def test_a_result_read_back_is_the_one_that_was_given(done: Training) -> None:
    again = study.read_training(done.folder)
    assert again.predictions.equals(done.predictions)
    assert json.dumps(again.metrics) == json.dumps(done.metrics)


class Heard(study.Silent):
    """A Notify that keeps what is reported to it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, what: str, done: int, total: int) -> None:
        self.said.append(f"{what}: {done} of {total}")

    def note(self, text: str) -> None:
        self.said.append(text)


def test_progress_and_notes_come_to_whom_it_was_given(tables: Path, tmp_path: Path) -> None:
    heard = Heard()
    study.train(tables / "cohort.csv", quick(tables, tmp_path / "s"), out=tmp_path / "out", notify=heard)
    assert [text for text in heard.said if text.startswith("learning rf") and text.endswith("3 of 3")]
    assert any("columns are ignored" in text for text in heard.said)


@pytest.fixture
def state() -> Callable[[], dict[str, object]]:
    """All that a study must leave unchanged."""

    def look() -> dict[str, object]:
        return {
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "handlers": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
            "logging": [(n, logging.getLogger(n).level, len(logging.getLogger(n).handlers)) for n in ("", "kras")],
            "disabled": logging.root.manager.disable,
            "streams": (sys.stdout, sys.stderr),
            "random": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist()),  # type: ignore[index]
            "threads": torch.get_num_threads(),
            "deadline": isolation.allowed(),
            "store": default_place(),
            "warnings": list(warnings.filters),
        }

    return look


def test_a_study_prints_nothing_reads_no_arguments_and_leaves_the_process_as_it_was(
    tables: Path,
    tmp_path: Path,
    state: Callable[[], dict[str, object]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Forbidden(list[str]):
        def __getitem__(self, at: object) -> Any:
            raise AssertionError("sys.argv was read")

        __iter__ = __getitem__  # type: ignore[assignment]

    settings = quick(tables, tmp_path / "s", classifiers=("mlp", "rf"), deadline=77.0, import_deadline=50.0)
    settings = settings.with_options("classifier.mlp.seeds=1")
    study.train(tables / "cohort.csv", settings, out=tmp_path / "first")  # libraries that are imported settle in
    monkeypatch.setattr(sys, "argv", Forbidden())
    before = state()
    done = study.train(tables / "cohort.csv", settings, out=tmp_path / "out")
    study.validate(done.bundle, tables / "cohort.csv", settings, out=tmp_path / "external")
    study.score(done.bundle, tables / "cohort.csv", settings, out=tmp_path / "scores")
    study.plan(tables / "cohort.csv", settings)
    assert state() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
def test_two_studies_in_two_threads_are_as_two_after_each_other(tables: Path, tmp_path: Path) -> None:
    def run(name: str, where: str) -> Path:
        own = {"one": {"seed": 0}, "two": {"seed": 1, "classifiers": ("mlp", "rf"), "deadline": 99.0}}[name]
        settings = quick(tables, tmp_path / where / f"store-{name}", **own).with_options("classifier.mlp.seeds=1")
        heard = Heard()
        done = study.train(tables / "cohort.csv", settings, out=tmp_path / where / name, notify=heard)
        assert not any("mlp" in text for text in heard.said) or name == "two"
        return done.folder

    serial = [outcome(run(name, "serial")) for name in ("one", "two")]
    together = threading.Barrier(2)

    def at_once(name: str) -> Path:
        together.wait()
        return run(name, "threads")

    with ThreadPoolExecutor(2) as pool:
        threaded = [outcome(folder) for folder in pool.map(at_once, ("one", "two"))]
    assert threaded == serial


def test_importing_the_study_imports_nothing_heavy() -> None:
    heavy = {"torch", "sklearn", "matplotlib", "pandas"}
    code = f"import sys; from kras_plugins import study; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_bundle_of_another_kind_of_folder_is_a_usage_error(tables: Path, tmp_path: Path) -> None:
    for call in (
        lambda: study.score(tmp_path, tables / "cohort.csv", out=tmp_path / "o"),
        lambda: study.validate(tmp_path, tables / "cohort.csv", out=tmp_path / "o"),
    ):
        with pytest.raises(KrasError, match="not a bundle"):
            call()
    assert not (tmp_path / "o").exists()


def test_the_store_of_a_call_is_the_settings_one_and_not_the_environments(tables: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kras_plugins import study; from quick_study import quick;"
        "tables, home = map(Path, sys.argv[1:]); study.train(tables / 'cohort.csv', quick(tables, home / 'mine'),"
        " out=home / 'out')"
    )
    env = environment(tmp_path / "other") | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", code, tables, tmp_path], check=True, env=env)
    assert (tmp_path / "mine").is_dir() and not (tmp_path / "other").exists()


def test_all_files_of_a_study_have_one_mode(done: Training) -> None:
    """Weights, too: anybody who may read the report may score with the bundle."""
    files = [f for f in done.folder.rglob("*") if f.is_file()]
    assert any(f.suffix == ".safetensors" for f in files)
    assert len({f.stat().st_mode for f in files}) == 1


def test_every_member_on_features_says_what_it_loses_without_them(done: Training) -> None:
    members = done.metrics["importance"]
    assert list(members) == [name for name in done.metrics["models"] if name in members]
    for name, found in members.items():
        model = done.metrics["models"][name]
        assert (found["n"], found["n_positive"]) == (model["n"], model["n_positive"])
        assert found["auroc"] == pytest.approx(model["auroc"]["value"])
        assert [row["group"] for row in found["groups"]] and found["groups"] == sorted(
            found["groups"], key=lambda row: -row["drop"]
        )
