"""No word leaves the machine: neither kras nor a library that it loads writes a mark of its own or asks the network."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version
from services import need
from triton_server import ensure_installed, export_tiny
from tritonclient.grpc import InferenceServerClient
from watched import Machine, can_watch

from kras_plugins.host.telemetry import OPT_OUTS
from kras_plugins.testing import draw_cohort

RUN = (
    "run", "cohort.csv", "--extractor", "vit", "-o", "extractor.vit.model=vit-mini", "--workers", "1", "--folds", "2",
    "--classifiers", "he", "-o", "classifier.he.seeds=1", "-o", "classifier.he.epochs=2", "--out", "out",
)  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which somebody looked round, ran a study, scored a slide and served a model."""
    machine = Machine(tmp_path_factory.mktemp("used") / "machine")
    draw_cohort(machine.work, patients=12, positives=5, size_um=(320.0, 320.0), processes=1)
    export_tiny(machine.work)
    ensure_installed()
    machine.run("doctor", ends=1)  # weights of the standard encoder are missing
    machine.run(*RUN)
    machine.run("predict", "out/bundle", "slides/P001-1.tiff", "--out", "scored")
    with machine.serving("model", "serve", "models", "--precision", "f32") as said:
        client = InferenceServerClient(said.split(" at ")[1].split()[0])
        assert client.is_model_ready("tiny")
        client.close()
    return machine


@pytest.mark.long
def test_doctor_run_predict_and_serve_leave_nothing_but_store_output_and_caches(used: Machine) -> None:
    assert (used.work / "out" / "report.html").exists()
    assert (used.work / "scored" / "P001-1.html").exists()
    assert used.left() == set()
    assert {f.name for f in used.work.iterdir()} == {
        "cohort.csv", "drawn.json", "slides", "models", "out", "scored"
    }  # fmt: skip


@pytest.mark.long
def test_doctor_run_predict_and_serve_ask_nobody(used: Machine) -> None:
    need(can_watch(), "strace that may watch", "apt-get install strace")
    assert used.asked() == set()


@pytest.mark.parametrize("first", ["kras_plugins", "kras_plugins.study", "kras_plugins.testing", "kras_backend_local"])
def test_whoever_imports_kras_is_covered(machine: Machine, first: str) -> None:
    machine.python(f"import {first}, onnxruntime, openvino")
    assert machine.left() == set()
    assert machine.asked() == set()


def test_a_process_that_kras_starts_is_covered(machine: Machine) -> None:
    machine.python(
        "import subprocess, sys, kras_plugins; subprocess.run([sys.executable, '-c', 'import onnxruntime'], check=True)"
    )
    assert machine.left() == set()


def test_no_variable_of_the_environment_switches_it_on_again(machine: Machine) -> None:
    on = dict.fromkeys(OPT_OUTS, "0")
    machine.python(f"import os; os.environ.update({on!r}); import kras_plugins, onnxruntime")
    assert machine.left() == set()


def test_without_the_switch_onnx_runtime_leaves_its_mark(machine: Machine) -> None:
    """What the tests above would find, or they prove nothing: ONNX Runtime before 1.29 has no telemetry on Linux."""
    if Version(metadata.version("onnxruntime")) < Version("1.29"):
        pytest.skip("this ONNX Runtime has no telemetry")
    machine.python("import onnxruntime")
    assert any("onnxruntime" in file for file in machine.left())


def test_without_the_switch_openvino_leaves_its_mark_and_asks_a_name(machine: Machine) -> None:
    if not [d for d in metadata.distributions() if d.name == "openvino-telemetry"]:
        pytest.skip("openvino-telemetry is not installed")
    machine.python("import openvino")
    assert any(file.startswith("intel/") for file in machine.left())
    assert machine.asked() or not can_watch()
