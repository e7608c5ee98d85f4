"""What backend local computes on, for machines that this one is not: nothing named is ever replaced in silence."""

from __future__ import annotations

import logging

import pytest

from kras_backend_local import LocalOptions, create
from kras_backend_local.choice import Target, choose, choose_precision
from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover
from kras_plugins.models import devices
from kras_plugins.models.accelerators import CUDA_BUILD, Accelerators, Card

H200 = Card(0, "NVIDIA H200", (9, 0))
V100 = Card(0, "Tesla V100-SXM2-16GB", (7, 0))
NONE = Accelerators(torch="2.9")
ONE = Accelerators(torch="2.9", cards=(H200,))
TWO = Accelerators(torch="2.9", cards=(H200, Card(1, "NVIDIA H200", (9, 0))))
MIXED = Accelerators(torch="2.9", cards=(H200, Card(1, "NVIDIA A40", (8, 6))))
CPU_BUILD = Accelerators(torch="2.9+cpu", trouble="PyTorch 2.9+cpu is built without CUDA", remedy=CUDA_BUILD)
APPLE = Accelerators(torch="2.9", mps=True)
INTEL = Accelerators(torch="2.9+xpu", xpu=("Intel(R) Arc(TM) B580",))


@pytest.mark.parametrize(
    ("engine", "device", "machine", "wanted"),
    [
        ("auto", "auto", NONE, ("openvino", ("cpu",), "cpu")),
        ("auto", "cpu", ONE, ("openvino", ("cpu",), "cpu")),
        ("openvino", "auto", ONE, ("openvino", ("cpu",), "cpu")),
        ("torch", "cpu", ONE, ("torch", ("cpu",), "cpu")),
        ("torch", "auto", NONE, ("torch", ("cpu",), "cpu")),
        ("auto", "auto", ONE, ("torch", ("cuda:0",), "NVIDIA H200")),
        ("auto", "auto", TWO, ("torch", ("cuda:0",), "NVIDIA H200")),
        ("auto", "auto", MIXED, ("torch", ("cuda:0",), "NVIDIA H200")),
        ("auto", "cuda", TWO, ("torch", ("cuda:0", "cuda:1"), "NVIDIA H200")),
        ("torch", "cuda:1", MIXED, ("torch", ("cuda:1",), "NVIDIA A40")),
        ("onnxruntime", "auto", ONE, ("onnxruntime", ("cuda:0",), "NVIDIA H200")),
        ("onnxruntime", "cuda", TWO, ("onnxruntime", ("cuda:0", "cuda:1"), "NVIDIA H200")),
        ("auto", "auto", APPLE, ("torch", ("mps",), "mps")),
        ("auto", "auto", INTEL, ("torch", ("xpu",), "Intel(R) Arc(TM) B580")),
        ("torch", "xpu", INTEL, ("torch", ("xpu",), "Intel(R) Arc(TM) B580")),
    ],
)
def test_auto_is_torch_on_an_accelerator_and_openvino_on_a_cpu(
    engine: str, device: str, machine: Accelerators, wanted: tuple[str, tuple[str, ...], str]
) -> None:
    target = choose(engine, device, lambda _: machine)
    assert (target.engine, target.devices, target.name) == wanted


@pytest.mark.parametrize(
    ("engine", "device", "machine", "message"),
    [
        ("auto", "cuda", NONE, "no NVIDIA GPU can be used: PyTorch 2.9 sees none"),
        ("torch", "cuda:0", CPU_BUILD, "built without CUDA.*install PyTorch's CUDA build"),
        ("onnxruntime", "auto", CPU_BUILD, "built without CUDA"),
        ("auto", "cuda:2", TWO, r"there is no cuda:2; there is cuda:0 \(NVIDIA H200\), cuda:1"),
        ("auto", "cuda", MIXED, r"of one kind.*cuda:0 NVIDIA H200 \(9.0\), cuda:1 NVIDIA A40 \(8.6\)"),
        ("auto", "mps", ONE, "sees no Apple GPU"),
        ("torch", "xpu", ONE, "sees no Intel GPU"),
        ("openvino", "cuda", ONE, "openvino does not run on cuda"),
        ("onnxruntime", "cpu", ONE, "onnxruntime is for NVIDIA GPUs, not cpu"),
        ("onnxruntime", "mps", APPLE, "onnxruntime is for NVIDIA GPUs, not mps"),
    ],
)
def test_a_device_that_is_named_and_absent_is_an_error(
    engine: str, device: str, machine: Accelerators, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        choose(engine, device, lambda _: machine)


def test_torch_is_not_asked_where_the_answer_does_not_matter() -> None:
    def never(_: str) -> Accelerators:
        raise AssertionError

    for engine, device in (("auto", "cpu"), ("torch", "cpu"), ("openvino", "auto")):
        assert choose(engine, device, never).devices == ("cpu",)


def cuda(card: Card) -> Target:
    return Target(engine="torch", devices=(card.device,), name=card.name, capability=card.capability)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [(cuda(H200), "bf16"), (cuda(V100), "f16"), (Target(engine="torch"), "f32"),
     (Target(engine="torch", devices=("mps",), name="mps"), "f32")],
)  # fmt: skip
def test_auto_precision_is_the_fastest_that_the_device_has_itself(target: Target, wanted: str) -> None:
    assert choose_precision("auto", target) == wanted
    assert choose_precision("f32", target) == "f32"


def test_bf16_that_a_card_only_emulates_is_refused() -> None:
    with pytest.raises(BackendError, match="V100-SXM2-16GB has no bf16 of its own"):
        choose_precision("bf16", cuda(V100))


def test_a_gpu_left_to_idle_is_in_log_and_manifest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "likely", lambda: True)
    monkeypatch.setattr(devices, "look", lambda: CPU_BUILD)
    with caplog.at_level(logging.WARNING, "kras.backend.local"):
        backend = create(LocalOptions())
    assert "built without CUDA" in caplog.text and CUDA_BUILD in caplog.text
    assert backend.engine.startswith("openvino")
    assert "built without CUDA" in backend.report()["unused_gpu"]
    assert "unused_gpu" not in create(LocalOptions(device="cpu")).report()


@pytest.mark.parametrize(
    ("device", "message"),
    [("tensorrt", "use device=cuda .PyTorch., or Triton with TensorRT"), ("gpu", "none of auto, cpu, cuda, cuda:N")],
)
def test_devices_of_yesterday_and_unknown_ones_say_what_to_take(device: str, message: str) -> None:
    record = discover().find("backend", "local").record
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"backend.local.device={device}"]).options_for("backend", record)


def test_a_device_that_is_not_here_is_refused_by_the_backend_itself() -> None:
    if choose("auto", "auto").kind == "cuda":
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match="no NVIDIA GPU can be used: PyTorch [0-9]"):
        create(LocalOptions(device="cuda"))
