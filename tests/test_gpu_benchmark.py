"""benchmarks/gpu.py: all of it on a CPU, on a machine that lacks most of it, out of time, and where a process dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
BARE = ("pydantic", "openslide", "imagecodecs", "openvino", "lightgbm", "tritonclient")
NOT_CARRIED = ("openslide", "openvino", "lightgbm", "tritonclient", "cryptography", "ijson", "shapely")
WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
"""


def neighbor(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module(name)


def gpu(out: Path, *words: str, without: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The script in a process in which some packages are not there."""
    path = out / "path"
    path.mkdir(parents=True)
    (path / "sitecustomize.py").write_text(WITHOUT.format(names=tuple(without)))
    return subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "--device", "cpu", "--out", out, *words],
        env={**os.environ, "PYTHONPATH": str(path)}, capture_output=True, text=True, timeout=580,
    )  # fmt: skip


def result(out: Path) -> dict[str, dict[str, Any]]:
    return {r["block"]: r for r in json.loads((out / "gpu.json").read_text())["blocks"]}


@pytest.mark.long
def test_all_of_it_runs_on_a_cpu_with_what_is_carried_to_a_machine_alone(tmp_path: Path) -> None:
    done = gpu(tmp_path, "--minutes", "60", without=NOT_CARRIED)
    assert done.returncode == 0, done.stdout + done.stderr
    found = result(tmp_path)
    skipped = {name for name, record in found.items() if record["status"] == "skipped"}
    assert skipped == {"graphs", "engine_memory", "compiled"}
    assert {record["status"] for name, record in found.items() if name not in skipped} == {"done"}
    checks = [row for record in found.values() for row in record["rows"] if "ok" in row]
    assert len(checks) > 15 and all(row["ok"] for row in checks)
    assert {row["precision"] for row in found["agreement"]["rows"]} == {"f32", "bf16", "f16", "bf16 throughout"}
    # Arithmetic is what it is called: half precisions differ from f32 by some of their digits, f32 by none of these.
    errors = {(row["model"], row["precision"]): row["relative error"] for row in found["agreement"]["rows"]}
    for model in {model for model, _ in errors}:
        assert errors[model, "f32"] < 1e-5 < errors[model, "f16"] <= errors[model, "bf16"] < 0.1
    (cells,) = found["slide_cells"]["rows"]
    assert cells["tiles"] > 0 and cells["limit"] in ("card", "cores")
    text = (tmp_path / "gpu.md").read_text()
    assert all(f"### {name}\n" in text for name in found) and "| vit-mini |" in text


def test_pytorch_alone_answers_where_kras_lacks_its_packages_and_says_so(tmp_path: Path) -> None:
    done = gpu(tmp_path, "--only", "agreement", "engine", "slide_cells", without=BARE)
    found = result(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["agreement"]["status"] == "done"
    assert {row["model"] for row in found["agreement"]["rows"]} == {"vit_tiny_patch16_224", "cells"}
    for name in ("engine", "slide_cells"):
        assert found[name]["status"] == "skipped" and found[name]["why"].startswith("there is no package ")
        assert found[name]["why"].split()[-1] in BARE


def test_what_no_time_is_left_for_is_skipped_and_said_to_be(tmp_path: Path) -> None:
    done = gpu(tmp_path, "--minutes", "0")
    assert done.returncode == 0
    found = result(tmp_path)
    assert {record["status"] for record in found.values()} == {"skipped"} and len(found) == 15
    assert [record["why"] for record in found.values()].count("no time was left") == 12
    assert done.stdout.count("no time was left") == 12
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs/gpu.md").read_text())
    words = [sys.executable, BENCHMARKS / "gpu.py", "--out", tmp_path, "--page", page]
    subprocess.run(words, check=True)
    assert page.read_text().count("no time was left") == 12


WORKER = """
import json, os, sys, time
sys.path.insert(0, {benchmarks!r})
from gpu_results import write
from pathlib import Path
for name in sys.argv[2:]:
    if name == "never":
        os._exit(3)
    record = {{"block": name, "question": "", "why": "", "rows": [{{"n": 1}}], "until": time.time() - 1}}
    write(Path(sys.argv[1]), record | {{"status": "running"}})
    if name == "dies":
        os._exit(7)
    if name == "hangs":
        time.sleep(600)
    write(Path(sys.argv[1]), record | {{"status": "done"}})
"""


def starting(folder: Path) -> Callable[[Sequence[Any]], subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WORKER.format(benchmarks=str(BENCHMARKS)), str(folder)]
    return lambda blocks: subprocess.Popen([*command, *(b.name for b in blocks)])


def test_a_block_that_ends_its_process_or_hangs_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = neighbor("gpu", monkeypatch)
    monkeypatch.setattr(script, "PATIENCE", 1.5)
    names = ("first", "dies", "second", "hangs", "third", "never", "last")
    blocks = [script.Block("m" if name != "third" else "n", name, 1, "?") for name in names]
    script.measure(blocks, starting(tmp_path), tmp_path, time.time() + 600)
    found = {name: script.read(tmp_path, name) for name in names}
    assert [found[n]["status"] for n in ("first", "second", "third", "last")] == ["done"] * 4
    assert found["dies"]["why"] == "its process ended with exit code 7" and found["dies"]["rows"] == [{"n": 1}]
    assert found["hangs"]["why"] == "its process hung and was ended"
    assert found["never"]["why"] == "its process ended with exit code 3"
    assert len(script.faults(found.values())) == 3


def test_figures_go_between_the_markers_of_the_page_and_a_failed_check_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = neighbor("gpu_results", monkeypatch)
    rows = [{"model": "a|b", "tiles/s": 12345.6, "ok": True}, {"model": "c", "tiles/s": 0.123456, "ok": False}]
    records = [{"block": "rates", "question": "How fast?", "status": "done", "why": "", "rows": rows}]
    assert results.faults(records) == ["rates: model c, tiles/s 0.123"]
    facts = {"device": "a card", "begun": "today", "seconds": 5.0, "command": "gpu.py"}
    page = tmp_path / "gpu.md"
    page.write_text((ROOT / "docs/gpu.md").read_text())
    for _ in range(2):  # a second call replaces what the first one wrote
        results.put(page, results.markdown(facts, records))
    text = page.read_text()
    assert text.count("| a\\|b | 12,346 | yes |") == 1 and "| c | 0.123 | **no** |" in text
    assert "Not yet run" not in text.split(results.BEGIN)[1]
    assert text.split(results.BEGIN)[0] == (ROOT / "docs/gpu.md").read_text().split(results.BEGIN)[0]
    page.write_text("no markers")
    with pytest.raises(ValueError, match="no lines"):
        results.put(page, "")


def test_a_device_by_number_is_the_only_one_that_blocks_see(monkeypatch: pytest.MonkeyPatch) -> None:
    script = neighbor("gpu", monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert script.alone("cuda:2") == ("cuda:0", {"CUDA_VISIBLE_DEVICES": "2"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert script.alone("cuda:1") == ("cuda:0", {"CUDA_VISIBLE_DEVICES": "7"})
    assert script.alone("cuda") == ("cuda:0", {"CUDA_VISIBLE_DEVICES": "5"})


def test_wheels_are_asked_for_in_the_versions_installed_here_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = neighbor("gpu_wheels", monkeypatch)
    words = wheels.download(tmp_path, "3.12")
    assert f"pydantic-core=={metadata.version('pydantic-core')}" in words and "--only-binary=:all:" in words
    for name in ("kras", *wheels.PACKAGES):
        with pytest.raises(SystemExit, match="no wheel of"):
            wheels.size(tmp_path)
        (tmp_path / f"{name.replace('-', '_')}-1-py3-none-any.whl").write_bytes(b"0" * 1000)
    assert wheels.size(tmp_path) == 1000 * (1 + len(wheels.PACKAGES))
    monkeypatch.setattr(wheels, "LIMIT", 5000)
    with pytest.raises(SystemExit, match="allowed; the largest is"):
        wheels.size(tmp_path)
    order = wheels.order(wheels.FOLDER)
    assert len(order) < 2000 and "--find-links build/gpu-wheels" in order and "gpu.py --device cuda" in order


def test_no_benchmark_bears_the_name_of_a_library() -> None:
    names = {file.stem for file in BENCHMARKS.glob("*.py")}
    assert names & ({"coverage", "triton"} | set(metadata.packages_distributions())) == set()
