"""Runtimes of an encoder on this CPU in one run: tiles per second, and cosine of the features to PyTorch in float32.

    python benchmarks/encoders.py [--tiles 64] [--rounds 5] [--threads 2]

torch eager · torch compiled (where there is a C++ compiler) · ONNX Runtime in float32 and int8 · OpenVINO in float32,
bfloat16 and int8, for ViT-S/16 with seeded random weights and for vit-mini (its own weights where they are shipped,
else its architecture, seeded). Tiles are real H&E if ../shared/data exists. Rounds of all runtimes are interleaved, and
every round is timed by wall clock and by CPU seconds of the process: under load only the latter, and ratios within one
run, mean anything. Backend `local` should choose the fastest that keeps the least cosine of every encoder at 0.999.
int8 is excepted: it must first be calibrated on one's own tiles (`kras model quantize`; here on other tiles of the same
kind), so it is offered with its cosine and never chosen automatically.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from embed import real_pixels

LEAST_COSINE = 0.999
TORCH_BATCH = 16
Run = Callable[[np.ndarray], np.ndarray]


def encoders() -> dict[str, Any]:
    """ModelSpecs by name."""
    from kras_extractor_vit import VitOptions
    from kras_extractor_vit.network import spec_of
    from kras_extractor_vit.presets import PRESETS
    from kras_extractor_vit.resolve import resolve
    from kras_plugins.models.weights import is_present

    mini = PRESETS.get("vit-mini")
    if mini is None or not is_present(mini.weights):
        tiny = resolve(VitOptions(model="vit_tiny_patch16_224", weights="random:0"))
        mini = type(tiny)(**{**vars(tiny), "name": "vit-mini (seeded)", "arguments": {"depth": 6}})
    small = resolve(VitOptions(model="vit_small_patch16_224", weights="random:0"))
    return {"ViT-S/16": spec_of(small), mini.name: spec_of(mini)}


def cut_tiles(count: int, px: int, seed: int) -> np.ndarray:
    """uint8[tile h w 3]: windows of real tissue at random places, some mirrored."""
    pixels, rng = real_pixels(), np.random.default_rng(seed)
    found = []
    for _ in range(count):
        y, x = (int(rng.integers(0, side - px + 1)) for side in pixels.shape[:2])
        found.append(np.rot90(pixels[y : y + px, x : x + px], int(rng.integers(4))))
    return np.ascontiguousarray(found)


def in_batches(run: Callable[[np.ndarray], np.ndarray], batch: int, workers: int = 1) -> Run:
    """Run over all tiles; the last batch is padded, as engines compiled for one batch size need."""

    def whole(tiles: np.ndarray) -> np.ndarray:
        starts = range(0, len(tiles), batch)
        parts = [tiles[s : s + batch] for s in starts]
        if len(parts[-1]) < batch:
            parts[-1] = np.concatenate([parts[-1], tiles[: batch - len(parts[-1])]])
        if workers == 1:
            return np.concatenate([run(p) for p in parts])[: len(tiles)]
        with ThreadPoolExecutor(workers) as pool:
            return np.concatenate(list(pool.map(run, parts)))[: len(tiles)]

    return whole


def runtimes(spec: Any, threads: int, work: Path) -> Iterator[tuple[str, Run]]:
    import torch

    from kras_plugins.models.export import build_module, export_onnx
    from kras_plugins.models.quantize import quantize

    torch.set_num_threads(threads)
    module = build_module(spec)

    def torch_run(m: Any) -> Run:
        def run(tiles: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return m(torch.from_numpy(tiles)).numpy()

        return run

    yield "torch eager f32", in_batches(torch_run(module), TORCH_BATCH)
    if shutil.which("g++") or shutil.which("clang++"):
        yield "torch compiled f32", in_batches(torch_run(torch.compile(module)), TORCH_BATCH)
    else:
        print("  torch compiled: no C++ compiler here")
    file = work / "f32.onnx"
    export_onnx(spec, file)
    int8 = work / "int8.onnx"
    quantize(spec, cut_tiles(32, spec.inputs[0].shape[0], seed=1), int8)
    yield "ONNX Runtime f32", in_batches(onnxruntime_run(file, threads), TORCH_BATCH)
    yield "ONNX Runtime int8", in_batches(onnxruntime_run(int8, threads), TORCH_BATCH)
    for name, path, precision in (("f32", file, "f32"), ("bf16", file, "bf16"), ("int8", int8, "f32")):
        run = openvino_run(spec, path, precision, threads)
        if run is None:
            print(f"  OpenVINO {name}: this processor has none")
        else:
            yield f"OpenVINO {name}", run


def onnxruntime_run(file: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tiles: session.run(None, {name: tiles})[0]


def openvino_run(spec: Any, file: Path, precision: str, threads: int) -> Run | None:
    """As backend `local` runs it: one stream per thread, its fixed batch, one more request than streams."""
    import openvino

    from kras_backend_local.openvino_engine import BATCH, OpenVinoInfer, touch

    core = openvino.Core()
    touch(core)
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    model = core.read_model(file)
    model.reshape({t.name: [BATCH, *t.shape] for t in spec.inputs})
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
    settings |= {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
    infer = OpenVinoInfer(core.compile_model(model, "CPU", settings), spec, BATCH, threads)
    given, made = spec.inputs[0].name, spec.outputs[0].name
    return in_batches(lambda tiles: infer({given: tiles})[made], BATCH, infer.in_flight)


def measure(spec: Any, tiles: np.ndarray, rounds: int, threads: int) -> list[dict[str, Any]]:
    """One row per runtime; cosines are the least over tiles, `centered` without what all tiles share."""
    from kras_plugins.models.quantize import agreement

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = dict(runtimes(spec, threads, Path(folder)))
        features = {name: run(tiles).astype(np.float64) for name, run in runs.items()}  # compiles and warms up, too
        wall: dict[str, list[float]] = {name: [] for name in runs}
        cpu: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                began, used = time.perf_counter(), time.process_time()
                run(tiles)
                wall[name].append(len(tiles) / (time.perf_counter() - began))
                cpu[name].append(len(tiles) / (time.process_time() - used))
    near = {name: agreement(features["torch eager f32"], found) for name, found in features.items()}
    return [
        {
            "runtime": name,
            "tiles_per_second": statistics.median(wall[name]),
            "tiles_per_cpu_second": statistics.median(cpu[name]),
            "cosine": near[name].cosine,
            "centered": near[name].centered_cosine,
        }
        for name in runs
    ]


def choice(found: dict[str, list[dict[str, Any]]]) -> str:
    """The runtime with the best product of speeds among those that need no calibration and keep every cosine."""
    speed: dict[str, float] = {}
    for name in {r["runtime"] for rows in found.values() for r in rows if "int8" not in r["runtime"]}:
        rows = [r for rows in found.values() for r in rows if r["runtime"] == name]
        if all(r["cosine"] >= LEAST_COSINE for r in rows):
            speed[name] = float(np.prod([r["tiles_per_cpu_second"] for r in rows]))
    return max(speed, key=lambda name: speed[name])


def local_choice() -> str:
    from kras_backend_local import LocalOptions, create

    backend = create(LocalOptions())
    return f"{backend.engine}, {backend.precision}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    args = parser.parse_args()
    found = {}
    for name, spec in encoders().items():
        px = spec.inputs[0].shape[0]
        print(f"{name}: {args.tiles} tiles of {px} px, {args.rounds} rounds, {args.threads} threads")
        rows = found[name] = measure(spec, cut_tiles(args.tiles, px, seed=0), args.rounds, args.threads)
        first = rows[0]["tiles_per_cpu_second"]
        print(f"  {'':20} {'tiles/s':>9} {'/CPU s':>8} {'x eager':>8} {'cosine':>10} {'centered':>10}")
        for r in rows:
            print(
                f"  {r['runtime']:20} {r['tiles_per_second']:9.1f} {r['tiles_per_cpu_second']:8.1f} "
                f"{r['tiles_per_cpu_second'] / first:8.2f} {r['cosine']:10.6f} {r['centered']:10.6f}"
            )
    print(f"fastest that keeps {LEAST_COSINE} for every encoder: {choice(found)}; backend local: {local_choice()}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
