"""Backend local: what applies to all its engines, and what OpenVINO needs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from kras_plugins.errors import BackendError
from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module
from kras_plugins.testing.checks.probe import probe_model

RECORD = discover().find("backend", "local").record
VIT = discover().find("extractor", "vit").record


ENGINES = pytest.mark.parametrize("engine", ["openvino", "torch"])


def vit_spec(model: str = "vit_tiny_patch16_224"):  # type: ignore[no-untyped-def]
    return VIT.models(VIT.options(model=model, weights="random:0"))[0]


def backend(**options: object):  # type: ignore[no-untyped-def]
    return RECORD.create(RECORD.options(**options))


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)


@ENGINES
def test_float32_agrees_to_rounding(engine: str) -> None:
    spec, tiles = vit_spec(), noise(3)
    got = backend(engine=engine, device="cpu", precision="f32", batch=3).load(spec)({"tiles": tiles})["features"]
    with torch.inference_mode():
        want = build_module(spec)(torch.from_numpy(tiles)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@ENGINES
def test_a_tile_gives_the_same_bits_alone_in_company_and_from_many_threads(engine: str) -> None:
    infer, tiles = backend(engine=engine, device="cpu", batch=4).load(vit_spec()), noise(4)
    together = infer({"tiles": tiles})["features"]
    alone = np.concatenate([infer({"tiles": tiles[i : i + 1]})["features"] for i in range(4)])
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda _: infer({"tiles": tiles})["features"], range(8)))
    assert alone.tobytes() == together.tobytes()
    assert {t.tobytes() for t in threads} == {together.tobytes()}


_AFFINITIES = """
import os, threading
import numpy as np
from kras_plugins.host.manager import discover
from kras_plugins.testing.checks.probe import probe_model

record = discover().find("backend", "local").record
infer = record.create(record.options(engine="openvino", threads=1)).load(probe_model())
zeros = {t.name: np.zeros((infer.batch, *t.shape), t.dtype) for t in probe_model().inputs}
looked = threading.Event()

def work():
    while not looked.is_set():
        infer(zeros)

threads = [threading.Thread(target=work) for _ in range(2)]
mine, pinned = os.sched_getaffinity(0), 0
for thread in threads:
    thread.start()
for _ in range(2000):
    pinned += sum(os.sched_getaffinity(thread.native_id) != mine for thread in threads)
looked.set()
print(pinned)
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or os.cpu_count() == 1, reason="needs Linux, two cores")
def test_openvino_takes_whichever_cores_are_free_as_several_processes_may_share_a_machine() -> None:
    pinned = subprocess.run([sys.executable, "-c", _AFFINITIES], capture_output=True, text=True, check=True)
    assert pinned.stdout == "0\n"


@ENGINES
def test_a_result_is_not_overwritten_by_the_next_call(engine: str) -> None:
    infer = backend(engine=engine, device="cpu").load(vit_spec())
    first = infer({"tiles": noise(2, seed=1)})["features"]
    kept = first.copy()
    for seed in range(2, 8):
        infer({"tiles": noise(2, seed=seed)})
    np.testing.assert_array_equal(first, kept)


@ENGINES
def test_a_batch_too_large_is_refused(engine: str) -> None:
    infer = backend(engine=engine, device="cpu", batch=2).load(vit_spec())
    with pytest.raises(BackendError, match="a batch of 3, at most 2 fit"):
        infer({"tiles": noise(3)})


def test_precision_is_resolved_to_what_is_truly_used() -> None:
    assert backend(engine="openvino").precision in {"bf16", "f32"}
    assert backend(engine="openvino", precision="f32").precision == "f32"
    assert backend(engine="torch", device="cpu").precision == "f32"


def test_a_batch_that_is_asked_for_and_cut_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    spec = replace(probe_model(), max_batch=4)
    for engine in ("openvino", "torch"):
        with caplog.at_level(logging.WARNING, "kras.backend.local"):
            assert backend(engine=engine, device="cpu", batch=5).load(spec).batch == 4
        assert "'conformance_probe' takes batches of at most 4; 5 was requested" in caplog.text
        caplog.clear()
        assert backend(engine=engine, device="cpu", batch=4).load(spec).batch == 4
        assert not caplog.text


FIRST_USE = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(60, exit=True)
sys.setswitchinterval(1e-6)
import numpy as np
from kras_backend_local import LocalOptions
from kras_backend_local import create
from kras_plugins import ModelSpec, TensorSpec, Weights

def build(_):
    import torch

    class Double(torch.nn.Module):
        def forward(self, tiles):
            return tiles.float().mean(dim=(1, 2, 3))[:, None] * 2

    return Double()

spec = ModelSpec(
    name="double", inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(4, 4, 3)),),
    outputs=(TensorSpec(name="features", dtype="float32", shape=(1,)),), build=build,
    weights=Weights(source="builtin", licence="Apache-2.0"),
)
infer = create(LocalOptions(threads=7)).load(spec)
start = threading.Barrier(8)

def first_use():
    start.wait()
    infer({"tiles": np.full((1, 4, 4, 3), 3, np.uint8)})

threads = [threading.Thread(target=first_use) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def test_the_first_tiles_may_come_from_many_threads_at_once() -> None:
    # OpenVINO's own start-up deadlocked in one of six processes when two threads brought its first arrays.
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
