"""Bad plug-ins behind the real command: it ends with the right exit code, complete results and a clean stdout."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from bad_plugin import PLUGIN, READER, TROUBLE, installed, loose
from cohorts import command, environment, kras_process, read_rows, write_rows

LEAKS = f"""{TROUBLE}
import subprocess, threading
from kras_plugins import ExtractorPlugin, TileSpec, hookimpl

trouble("print")
threading.Thread(target=trouble, args=("hang",)).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])

@hookimpl
def kras_extractors():
    trouble("print")
    yield ExtractorPlugin(name="leaks", summary="[leaks] and prints", tile=lambda o: TileSpec(px=32, mpp=1.0),
                          dim=lambda o: 3, create=lambda options, infer: print)
"""
LAST_WORDS = f"""{TROUBLE}
import atexit, threading
threading.Thread(target=trouble, args=("hang",)).start()
atexit.register(trouble, "hang")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of installed distributions, for PYTHONPATH: some misbehave on request, by their options."""
    folder = tmp_path_factory.mktemp("site")
    installed(folder, "kras-bad", PLUGIN)
    installed(folder, "kras-noise", READER, version="0.3")
    return str(folder)


def noise(folder: Path) -> list[Path]:
    names = ("s1", "s2-bad", "s3")
    for name in names:
        (folder / f"{name}.noise").write_text(name)
    return [folder / f"{name}.noise" for name in names]


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_list_ends_and_names_broken_plugins_with_distribution_and_cause(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    installed(site, "kras-hangs", f"{TROUBLE}\ntrouble('hang')")
    installed(site, "kras-lacks", "import a_package_that_is_not_there", version="0.7")
    installed(site, "kras-leaks", LEAKS)
    installed(site, "kras-later", "", "kras>=9")
    (tmp_path / "kras.toml").write_text("[run]\nimport_deadline = 1\n")
    env = environment(tmp_path, PYTHONPATH=str(site), COLUMNS="200")
    with (tmp_path / "stderr").open("w") as stderr:  # a pipe would stay open for as long as the leftover child lives
        began = time.monotonic()
        ran = subprocess.run(
            command("plugin", "list", *words), cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    told = (tmp_path / "stderr").read_text()
    assert ran.returncode == 0, told
    assert time.monotonic() - began < 25
    if words:
        listed = json.loads(ran.stdout)
        causes = {b["distribution"]: b["cause"] for b in listed["broken"]}
        assert set(causes) == {"kras-hangs", "kras-lacks", "kras-later"}
        assert {"vit", "leaks"} <= {p["name"] for p in listed["plugins"]}
    else:
        shown = " ".join(ran.stdout.split())
        assert "kras_hangs kras-hangs 1.2 no answer for 1 s at import" in shown
        assert "kras_lacks kras-lacks 0.7 ModuleNotFoundError: No module named 'a_package" in shown
        assert "kras_later kras-later 1.2 it requires kras>=9" in shown
        assert "[leaks] and prints" in shown
    for said in ("said by Python", "said by C", "said by a child"):
        assert said in told
        assert said not in ran.stdout


def test_what_hangs_at_the_end_does_not_keep_the_command(tmp_path: Path) -> None:
    plug = loose(tmp_path, "plug", LAST_WORDS)
    ran = kras_process("plugin", "show", "nothing", "--plugin", plug, cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 1
    assert "there is no plug-in 'nothing'" in ran.stderr


def test_prints_of_plugins_leave_json_whole_and_a_slide_that_hangs_is_set_aside(site: str, tmp_path: Path) -> None:
    (tmp_path / "kras.toml").write_text(
        "[run]\ndeadline = 3\n[reader.worse]\nat = 'read'\nhow = 'hang'\n[extractor.bad]\nat = 'embed'\nhow = 'print'\n"
    )
    words = ("embed", *noise(tmp_path), "--extractor", "bad", "--out", "bags", "--json")
    ran = kras_process(*words, cwd=tmp_path, store=tmp_path / "store", PYTHONPATH=site)
    assert ran.returncode == 3, ran.stderr
    assert [row["slide_id"] for row in json.loads(ran.stdout)] == ["s1", "s3"]
    assert "set aside s2-bad: reader 'worse' of kras-noise 0.3 gave no answer for 3 s" in ran.stderr
    assert "said by C" in ran.stderr
    assert {f.name for f in (tmp_path / "bags").glob("*.h5")} == {"s1.h5", "s3.h5"}


def test_prints_in_a_worker_leave_json_whole_and_a_broken_loose_file_disturbs_no_worker(
    site: str, tmp_path: Path
) -> None:
    options = ("-o", "profiler.badly.at=decode", "-o", "profiler.badly.how=print")
    bad = loose(tmp_path, "bad", f"{TROUBLE}\ntrouble('die' if __name__ == '__mp_main__' else 'exit')")
    words = ("profile", *noise(tmp_path), "--profiler", "badly", *options, "--plugin", bad, "--out", "cells", "--json")
    ran = kras_process(*words, "--workers", "1", cwd=tmp_path, store=tmp_path / "store", PYTHONPATH=site)
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)) == 3
    assert "plug-in bad is left out" in ran.stderr
    assert "said by Python" in ran.stderr


def test_debugging_shows_where_a_slide_failed(site: str, tmp_path: Path) -> None:
    options = ("-o", "reader.worse.at=open", "-o", "reader.worse.how=error")
    words = ("embed", *noise(tmp_path), "--extractor", "bad", *options, "--out", "bags")
    ran = kras_process(*words, cwd=tmp_path, store=tmp_path / "store", PYTHONPATH=site, KRAS_DEBUG="1")
    assert ran.returncode == 3, ran.stderr
    assert 'kras_noise.py", line' in ran.stderr
    assert ran.stderr.count("Traceback") >= 1


def test_debugging_names_the_plugin_that_ends_the_process_at_its_import(tmp_path: Path) -> None:
    installed(tmp_path / "site", "kras-ends", "import os\nos._exit(7)")
    ran = kras_process(
        "plugin", "list", cwd=tmp_path, store=tmp_path, PYTHONPATH=str(tmp_path / "site"), KRAS_DEBUG="1"
    )
    assert ran.returncode == 7
    assert ran.stderr.splitlines()[-1] == "importing plug-in kras_ends of kras-ends 1.2"


def test_a_default_that_cannot_be_made_is_an_error_that_names_the_plugin(tmp_path: Path) -> None:
    code = READER.replace('how: str = Field("",', "how: str = Field(default_factory=lambda: 1 / 0,")
    words = ("plugin", "show", "worse", "--plugin", loose(tmp_path, "noise", code))
    ran = kras_process(*words, cwd=tmp_path, store=tmp_path)
    assert ran.returncode == 1
    assert "error: reader:worse@" in ran.stderr
    assert "ZeroDivisionError" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 24 patients with finished features."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(0)
    labels = [int(i % 3 == 0) for i in range(24)]
    rows = [{"patient_id": f"p{i}", "slide_id": f"p{i}", "g12c": str(y)} for i, y in enumerate(labels)]
    write_rows(folder / "cohort.csv", rows)
    values = [{f"f{k}": f"{rng.normal() + y:.3f}" for k in range(4)} for y in labels]
    write_rows(folder / "features.csv", [{"case": f"p{i}", **v} for i, v in enumerate(values)])
    return folder


def run(study: Path, site: str, at: str, how: str, *words: str) -> subprocess.CompletedProcess[str]:
    options = ("-o", f"classifier.worst.at={at}", "-o", f"classifier.worst.how={how}", "--folds", "2")
    given = ("run", "--classifiers", "worst", "--profile-table", "features.csv", *options, *words)
    return kras_process(*given, cwd=study, store=study / "store", PYTHONPATH=site)


def test_a_fit_that_hangs_is_an_error_after_the_deadline_of_its_patients(study: Path, site: str) -> None:
    (study / "hang.toml").write_text("[run]\ndeadline = 1\n")
    ran = run(study, site, "fit", "hang", "--config", "hang.toml", "--out", "hang")
    assert ran.returncode == 1
    assert "error: classifier worst of kras-bad 1.2 gave no answer for" in ran.stderr
    assert "in repeat 1, fold 1, inner fit" in ran.stderr
    assert "`deadline`" in ran.stderr
    assert (study / "hang" / "failures.csv").is_file()


@pytest.mark.parametrize(("at", "how"), [("create", "exit"), ("predict", "odd"), ("save", "missing")])
def test_a_classifier_that_fails_is_an_error_that_names_it(at: str, how: str, study: Path, site: str) -> None:
    ran = run(study, site, at, how, "--out", at)
    assert ran.returncode == 1
    told = ran.stderr.split("error:", 1)[1]
    assert told.startswith(" classifier worst of kras-bad 1.2 failed ")
    assert "kras plugin check classifier:worst" in told
    assert "Traceback" not in ran.stderr


def test_an_explanation_that_fails_costs_no_prediction(study: Path, site: str) -> None:
    ran = run(study, site, "explain", "exit", "--out", "out", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["models"]["worst"]["n"] == 24
    words = ("predict", study / "out" / "bundle", study / "cohort.csv", "--out", "new")
    table = ("-o", f"profiler.import.table={study / 'features.csv'}")
    made = kras_process(*words, *table, cwd=study, store=study / "store", PYTHONPATH=site)
    assert made.returncode == 0, made.stderr
    rows = read_rows(study / "new" / "predictions.csv")
    assert len(rows) == 24
    assert all(row["ensemble"] for row in rows)
    assert (study / "new" / "manifest.json").is_file()
    told = "left out of the page of p0: classifier worst of kras-bad 1.2 failed explaining patient p0: SystemExit: 3"
    assert told in made.stderr
