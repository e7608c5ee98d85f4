"""The torch engine of backend local, on a CPU: arithmetic, devices, and what it refuses."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kras_backend_local import LocalOptions, create, torch_engine
from kras_backend_local.arithmetic import prepare
from kras_backend_local.replicas import replicas
from kras_backend_local.torch_engine import load
from kras_plugins import TensorSpec, Weights
from kras_plugins.errors import BackendError, PluginError
from kras_plugins.models.export import build_module
from kras_plugins.testing.checks.probe import exact, probe_model, tiles


class Normed(torch.nn.Module):
    """A convolution, both kinds of normalization and a product."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.batch = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)
            self.layer, self.linear = torch.nn.LayerNorm(8), torch.nn.Linear(8, 4)
        self.scale = torch.nn.Parameter(torch.full((4,), 1 / 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.batch(self.conv(x.permute(0, 3, 1, 2).float() / 255))
        return self.scale * self.linear(self.layer(seen.mean((2, 3))))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("f16", torch.float16)])
def test_weights_of_products_cast_once_give_the_bits_of_autocast(precision: str, dtype: torch.dtype) -> None:
    spec = replace(probe_model(), outputs=(TensorSpec(name="features", dtype="float32", shape=(4,)),))
    module, given = Normed().eval(), tiles(3)
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype):
        wanted = copy.deepcopy(module)(torch.from_numpy(given)).float().numpy()
    got = load(module, spec, devices=["cpu"], precision=precision, batch=3)({"tiles": given})["features"]
    assert got.dtype == np.float32 and got.tobytes() == wanted.tobytes()
    assert {module.conv.weight.dtype, module.linear.bias.dtype} == {dtype}
    kept = (module.batch.weight, module.batch.running_var, module.layer.weight, module.scale)
    assert {t.dtype for t in kept} == {torch.float32}


def test_images_have_their_channels_last_and_f32_casts_nothing() -> None:
    module = prepare(Normed(), "f32")
    assert module.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.fixture
def switches() -> Iterator[tuple[bool, bool]]:
    """TF32 as somebody in this process set it."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, True
    yield True, True
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_tf32_is_off_while_something_computes_and_as_it_was_after(switches: tuple[bool, bool]) -> None:
    seen = []

    class Looks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tf32())
            return x.float().mean((1, 2, 3))[:, None].expand(-1, 8)

    spec = replace(probe_model(), outputs=probe_model().outputs[:1])
    infer = load(Looks(), spec, devices=["cpu"], precision="f32", batch=1)
    infer({"tiles": tiles(1)})
    assert seen == [(False, False)] * 2 and tf32() == switches


def test_several_devices_give_the_bits_of_one_whichever_computes() -> None:
    given = [np.roll(tiles(2), i, axis=1) for i in range(12)]
    one = load(build_module(probe_model()), probe_model(), devices=["cpu"], precision="f32", batch=2)
    two = load(build_module(probe_model()), probe_model(), devices=["cpu", "cpu"], precision="f32", batch=2)
    assert (one.in_flight, two.in_flight) == (3, 6)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda g: two({"tiles": g}), given))
    for g, found in zip(given, got, strict=True):
        wanted = one({"tiles": g})
        assert {name: a.tobytes() for name, a in found.items()} == {name: a.tobytes() for name, a in wanted.items()}
    np.testing.assert_allclose(got[0]["map"], exact(given[0])["map"], atol=1e-6)


def test_each_device_has_a_network_of_its_own() -> None:
    module = Normed()
    first, second = replicas(module, [torch.device("cpu"), torch.device("cpu")])
    assert first is not second and second is module
    assert first.conv.weight.data_ptr() != second.conv.weight.data_ptr()
    assert torch.equal(first.conv.weight, second.conv.weight)


def test_too_little_memory_at_loading_names_device_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(torch_engine, "PlainSlot", full)
    with pytest.raises(BackendError, match="cpu does not have enough memory for batches of 2.*backend.local.batch"):
        create(LocalOptions(engine="torch", device="cpu")).load(probe_model())


def test_too_little_memory_within_a_capture_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    monkeypatch.setattr(torch_engine, "PlainSlot", full)
    with pytest.raises(BackendError, match="cpu does not have enough memory"):
        create(LocalOptions(engine="torch", device="cpu")).load(probe_model())


def test_outputs_that_are_not_the_specs_are_the_plugins_fault() -> None:
    spec = replace(probe_model(), outputs=probe_model().outputs[:1])
    shapes = [t.shape for t in probe_model().outputs]
    with pytest.raises(PluginError, match=re.escape(f"its outputs are {shapes}, its spec says {shapes[:1]}")):
        create(LocalOptions(engine="torch", device="cpu")).load(spec)


def test_a_network_that_cannot_run_says_what_torch_says() -> None:
    class Fails(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(7, 7)

    with pytest.raises(BackendError, match="'conformance_probe': PyTorch failed on cpu: RuntimeError: shape"):
        load(Fails(), probe_model(), devices=["cpu"], precision="f32", batch=2)


def test_an_onnx_file_is_refused_with_the_engine_that_runs_it(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(b"")
    spec = replace(probe_model(), weights=Weights(source=str(tmp_path / "own.onnx"), licence="own"))
    with pytest.raises(BackendError, match="own.onnx.*PyTorch does not run.*engine=openvino"):
        create(LocalOptions(engine="torch", device="cpu")).load(spec)


def test_threads_are_openvinos_alone() -> None:
    with pytest.raises(BackendError, match="OMP_NUM_THREADS"):
        create(LocalOptions(engine="torch", device="cpu", threads=2))


def test_compiling_is_asked_for_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []

    def stand_in(module: torch.nn.Module, *, dynamic: bool) -> torch.nn.Module:
        assert dynamic is False  # one shape is computed, and one shape only
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", stand_in)
    plain, fast = (create(LocalOptions(engine="torch", device="cpu", compile=c)) for c in (False, True))
    plain.load(probe_model())
    assert not compiled
    fast.load(probe_model())
    assert len(compiled) == 1 and fast.engine == f"{plain.engine} compiled"


BARE = """
import sys
for absent in ("openvino", "onnxruntime", "onnx", "openslide", "lightgbm", "imagecodecs", "tritonclient", "h5py"):
    sys.modules[absent] = None
from kras_backend_local.torch_engine import load
from kras_plugins.testing.checks.probe import probe_model
import numpy as np
spec = probe_model()
infer = load(spec.build(None), spec, devices=["cpu"], precision="bf16", batch=2)
made = infer({"tiles": np.zeros((1, 32, 32, 3), np.uint8)})
assert made["features"].shape == (1, 8), made
"""


def test_the_engine_needs_torch_and_no_library_of_slides_or_other_engines() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
