"""Stands in for Triton's `onnxruntime` backend on a CPU: loads the same `model.onnx` and runs it with OpenVINO.

Copied as `model.py` into the server's backend folder when it starts, and run by the server's own interpreter: it
imports nothing of kras. In NVIDIA's container the native backend takes its place, with the same repository.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

assert sys.platform == "linux"  # where alone the packaged server runs
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as in host/telemetry.py
import openvino  # noqa: E402

BATCH = int(os.environ.get("KRAS_BATCH", "2"))
"""Tiles per inference, fixed: the same tile then gives the same bits whatever else is requested."""

DTYPES = {"TYPE_UINT8": np.uint8, "TYPE_FP32": np.float32}
"""By Triton's name for them."""


class TritonPythonModel:
    """One instance of one model; Triton makes it, calls `execute` with requests and `finalize` at the end."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """The configuration is complete as exported."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the model for a fixed batch, with this instance's share of the cores."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        count = max(1, sum(group["count"] for group in config["instance_group"]))
        threads = max(1, len(os.sched_getaffinity(0)) // count)
        self.inputs = [(t["name"], [int(d) for d in t["dims"]]) for t in config["input"]]
        self.outputs = [(t["name"], [int(d) for d in t["dims"]], DTYPES[t["data_type"]]) for t in config["output"]]
        core = openvino.Core()
        model = core.read_model(folder / (config.get("default_model_filename") or "model.onnx"))
        model.reshape({name: [BATCH, *dims] for name, dims in self.inputs})
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": os.environ.get("KRAS_PRECISION", "f32"),
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": threads,
                "INFERENCE_NUM_THREADS": threads,
                # Instances are processes: pinned, two of them would sit on the same core.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self.queue = openvino.AsyncInferQueue(compiled, threads)
        self.queue.set_callback(self.keep)

    def keep(self, request: Any, where: tuple[dict[str, Any], int, int, Any]) -> None:
        """Copy one inference's results to their place; called by OpenVINO."""
        results, first, n, _inputs_kept_alive = where
        for i, (name, *_) in enumerate(self.outputs):
            results[name][first : first + n] = request.get_output_tensor(i).data[:n]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; one that cannot be answered does not hurt the others."""
        answers = [self.begin(request) for request in requests]
        self.queue.wait_all()
        return [
            answer
            if isinstance(answer, triton.InferenceResponse)
            else triton.InferenceResponse([triton.Tensor(name, array) for name, array in answer.items()])
            for answer in answers
        ]

    def begin(self, request: Any) -> Any:
        """Queue a request's tiles and return the arrays they will fill, or a response that says what is wrong."""
        tiles = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name, _ in self.inputs}
        sizes = {len(array) for array in tiles.values()}
        wrong = [name for name, dims in self.inputs if list(tiles[name].shape[1:]) != dims]
        if wrong or len(sizes) != 1:
            return triton.InferenceResponse(error=triton.TritonError(f"inputs of unexpected shape: {wrong or sizes}"))
        n = sizes.pop()
        results = {name: np.empty((n, *dims), dtype) for name, dims, dtype in self.outputs}
        for first in range(0, n, BATCH):
            kept = min(BATCH, n - first)
            pieces = {name: padded(array[first : first + kept]) for name, array in tiles.items()}
            self.queue.start_async(pieces, (results, first, kept, pieces), share_inputs=True)
        return results

    def finalize(self) -> None:
        """Finish what is under way."""
        self.queue.wait_all()


def padded(tiles: Any) -> Any:
    """A piece as an array of exactly BATCH tiles."""
    if len(tiles) == BATCH:
        return np.ascontiguousarray(tiles)
    full = np.zeros((BATCH, *tiles.shape[1:]), tiles.dtype)
    full[: len(tiles)] = tiles
    return full
