"""ONNX Runtime on a GPU, with a stand-in for the library: it computes there, or nothing is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import kras_backend_local
from kras_backend_local import LocalOptions, create, onnxruntime_engine
from kras_backend_local.choice import Target
from kras_backend_local.onnxruntime_engine import PROVIDER, OnnxRuntime
from kras_plugins import ModelSpec, Weights
from kras_plugins.errors import BackendError
from kras_plugins.testing.checks.probe import FEATURES, probe_model, tiles

CARDS = Target(engine="onnxruntime", devices=("cuda:0", "cuda:1"), name="NVIDIA H200", capability=(9, 0))


class Session:
    """Counts what it is given; `held`: the providers that it actually has."""

    held = (PROVIDER, "CPUExecutionProvider")
    made: list[Session] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, file: str, providers: list[tuple[str, dict[str, str]]]) -> None:
        ((self.provider, self.settings),) = providers
        self.batches: list[int] = []
        self.falls_back = True
        self.made.append(self)

    def get_providers(self) -> list[str]:
        return list(self.held)

    def disable_fallback(self) -> None:
        self.falls_back = False

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[np.ndarray]:
        given = inputs["tiles"]
        self.batches.append(len(given))
        mean = given.reshape(len(given), -1).mean(1, dtype=np.float32)[:, None]
        maps = np.zeros((len(given), 4, 16, 16), np.float32), np.zeros((len(given), 16, 16), np.uint8)
        return [np.repeat(mean, FEATURES, 1), *maps]


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(Session.held))
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime_engine, "onnx_file", lambda spec: tmp_path / "model.onnx")
    monkeypatch.setattr(Session, "made", [])


@pytest.fixture
def own(tmp_path: Path) -> ModelSpec:
    """A model whose weights are an ONNX file."""
    (tmp_path / "own.onnx").write_bytes(b"")
    return replace(probe_model(), weights=Weights(source=str(tmp_path / "own.onnx"), licence="own"))


@pytest.mark.usefixtures("gpu_build")
def test_it_runs_on_every_card_in_full_batches_and_without_tf32(own: ModelSpec) -> None:
    backend = OnnxRuntime(LocalOptions(), CARDS)
    infer = backend.load(own)
    assert (infer.batch, infer.in_flight) == (16, 4)
    for _ in range(4):
        got = infer({"tiles": tiles(3)})
        assert got["features"].shape == (3, FEATURES)
        np.testing.assert_allclose(got["features"][:, 0], tiles(3).reshape(3, -1).mean(1), rtol=1e-5)
    assert [(s.settings["device_id"], s.settings["use_tf32"], s.falls_back) for s in Session.made] == [
        ("0", "0", False),
        ("1", "0", False),
    ]
    assert [s.batches for s in Session.made] == [[16, 16], [16, 16]]
    assert backend.engine == f"onnxruntime {onnxruntime.__version__} NVIDIA H200 batch 64"
    assert backend.precision == "f32"


@pytest.mark.usefixtures("gpu_build")
def test_a_session_that_fell_back_to_the_cpu_computes_nothing(own: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OnnxRuntime(LocalOptions(), CARDS)
    monkeypatch.setattr(Session, "held", ("CPUExecutionProvider",))
    with pytest.raises(BackendError, match="cannot use cuda:0"):
        backend.load(own)


def test_a_build_without_cuda_is_refused_with_the_package_that_has_it() -> None:
    if PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("this machine has a GPU build of ONNX Runtime")
    with pytest.raises(BackendError, match="has no CUDA.*onnxruntime-gpu"):
        OnnxRuntime(LocalOptions(), CARDS)


@pytest.mark.usefixtures("gpu_build")
def test_other_precisions_and_other_models_are_refused(own: ModelSpec) -> None:
    with pytest.raises(BackendError, match="computes in f32, not bf16"):
        OnnxRuntime(LocalOptions(precision="bf16"), CARDS)
    with pytest.raises(BackendError, match="is not an ONNX file.*engine=auto"):
        OnnxRuntime(LocalOptions(), CARDS).load(probe_model())


@pytest.mark.usefixtures("gpu_build")
def test_auto_gives_onnx_files_to_onnx_runtime_only_where_both_compute_in_f32(
    own: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kras_backend_local.choice, "choose", lambda engine, device: replace(CARDS, engine="torch"))
    mixed = create(LocalOptions(precision="f32"))
    assert mixed.engine == (
        f"torch {torch.__version__} NVIDIA H200 batch 64, "
        f"ONNX files onnxruntime {onnxruntime.__version__} NVIDIA H200 batch 64"
    )
    assert mixed.precision == "f32"
    mixed.load(own)
    assert len(Session.made) == 2
    alone = create(LocalOptions())
    assert (alone.precision, "onnxruntime" in alone.engine) == ("bf16", False)
    with pytest.raises(BackendError, match="PyTorch does not run.*engine=onnxruntime"):
        alone.load(own)
