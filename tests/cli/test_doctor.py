"""`kras doctor` fails for what a run with the same settings lacks, and for nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cohorts import kras

from kras_plugins import __version__
from kras_plugins.host import fitness
from kras_plugins.host.fitness import check_accelerators, check_library, check_store
from kras_plugins.models.accelerators import Accelerators, Card

MINI = ("-o", "extractor.vit.model=vit-mini")


def checks(folder: Path, *words: str, fails: bool, **env: str) -> dict[str, list[dict[str, str]]]:
    ran = kras("doctor", *words, "--json", cwd=folder, store=folder / "store", HF_HOME=str(folder / "hub"), **env)
    assert ran.returncode == int(fails), ran.stdout + ran.stderr
    found: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(ran.stdout):
        found.setdefault(check["what"], []).append(check)
    assert fails == any(c["state"] == "fail" for some in found.values() for c in some)
    return found


def test_a_machine_with_all_that_its_settings_need_is_fit(tmp_path: Path) -> None:
    found = checks(tmp_path, *MINI, fails=False)
    assert found["kras"][0]["found"] == __version__
    assert {"python", "processor", "openslide", "openvino", "onnxruntime", "torch", "gpu", "store", "plug-ins"} <= set(
        found
    )


def test_weights_that_the_settings_choose_and_lack_fail_with_what_to_do(tmp_path: Path) -> None:
    (bad,) = [c for c in checks(tmp_path, fails=True)["weights"] if c["state"] == "fail"]
    assert "vit: hf:" in bad["found"]
    assert "kras model fetch" in bad["found"]


def test_settings_choose_whose_weights_must_be_here(tmp_path: Path) -> None:
    (tmp_path / "kras.toml").write_text('[run]\nextractor = "h5"\n[extractor.h5]\nfolder = "."\n')
    states = {c["found"].split(":")[0]: c["state"] for c in checks(tmp_path, fails=False)["weights"]}
    assert states["vit"] == "warn"
    found = checks(tmp_path, "--extractor", "none-of-these", fails=True)
    assert "there is no extractor 'none-of-these'" in found["weights"][0]["found"]


def test_a_broken_plugin_and_two_of_one_name_fail(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise RuntimeError('no driver')")
    found = checks(tmp_path, *MINI, "--plugin", "bad.py", fails=True)
    assert "no driver" in found["plug-in"][0]["found"]
    (tmp_path / "twin.py").write_text(
        "import kras_reader_tiff\nfrom kras_plugins import hookimpl\n"
        "@hookimpl\ndef kras_readers():\n    return kras_reader_tiff.kras_readers()\n"
    )
    found = checks(tmp_path, *MINI, "--plugin", "twin.py", fails=True)
    assert "tiff" in found["plug-in"][0]["found"]


def test_a_store_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = checks(tmp_path, *MINI, "--cache", "file", fails=True)
    assert "cannot be written" in found["store"][0]["found"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write into")
def test_writing_is_tried_as_permissions_tell_nothing_to_root() -> None:
    assert check_store(Path("/proc/self")).state == "fail"
    assert os.access("/proc/self", os.R_OK)


def test_little_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_store(tmp_path).state == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**9, 10**9))
    check = check_store(tmp_path / "new")
    assert (check.state, check.found) == ("warn", f"{tmp_path / 'new'}, 1 GB free")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("error", [ImportError("no module"), OSError("libGL.so.1 is not there")])
def test_a_library_that_does_not_load_fails(error: Exception) -> None:
    def look() -> str:
        raise error

    check = check_library("openslide", look)
    assert (check.state, check.found) == ("fail", f"does not load: {error}")
    assert {"openslide", "openvino", "onnxruntime", "torch"} == set(fitness.LIBRARIES)


@pytest.mark.parametrize(
    ("seen", "state", "found"),
    [
        (Accelerators(), "ok", "none, networks run on the CPU"),
        (Accelerators(cards=(Card(0, "NVIDIA H200", (9, 0)),)), "ok", "cuda:0 NVIDIA H200 (9.0)"),
        (Accelerators(mps=True), "ok", "mps (Apple)"),
        (
            Accelerators(trouble="no CUDA", remedy="get it"),
            "warn",
            "an NVIDIA GPU is present but not used: no CUDA; get it",
        ),
    ],
)
def test_a_gpu_that_is_here_and_idle_is_a_warning(seen: Accelerators, state: str, found: str) -> None:
    check = check_accelerators(seen)
    assert (check.what, check.state, check.found) == ("gpu", state, found)
