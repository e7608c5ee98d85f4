"""OpenVINO on the CPU, from the model's ONNX file."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_backend_local.batches import batch_of, count, filled
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.cores import cores
from kras_plugins.errors import BackendError
from kras_plugins.models.export import onnx_file

if TYPE_CHECKING:
    from kras_backend_local import LocalOptions
    from kras_plugins.contracts.backend import Arrays

BATCH = 2
"""Measured on two cores with ViT-S/16 in bf16, one stream per core: the best of 1 to 16 (docs/decisions/0003)."""


class OpenVino:
    """Backend on the CPU: one stream per thread, fixed batch, the same bits for the same tile.

    `unused`: why a GPU of this machine does not compute, for the manifest.
    """

    def __init__(self, options: LocalOptions, unused: str = "") -> None:
        import openvino

        self._core = openvino.Core()
        touch(self._core)
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        wanted = options.precision if options.precision != "auto" else ("bf16" if has_bf16 else "f32")
        if wanted == "f16" or (wanted == "bf16" and not has_bf16):
            raise BackendError(f"this processor has no fast {wanted}", "set -o backend.local.precision=auto (or f32)")
        self.precision: str = wanted
        self._asked = options.batch
        self.engine = f"openvino {metadata.version('openvino')} batch {options.batch or BATCH}"
        self._threads = options.threads or cores()
        self._unused = unused

    def load(self, spec: ModelSpec) -> OpenVinoInfer:
        """Compile the model for a fixed batch: the same tile then gives the same bits whatever else is requested."""
        model = self._core.read_model(onnx_file(spec))
        batch = batch_of(spec, self._asked, BATCH)
        model.reshape({t.name: [batch, *t.shape] for t in spec.inputs})
        compiled = self._core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self.precision,
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": self._threads,
                "INFERENCE_NUM_THREADS": self._threads,
                # If pinned, the threads of every process take the same first cores: two workers share half a machine.
                "ENABLE_CPU_PINNING": False,
            },
        )
        return OpenVinoInfer(compiled, spec, batch, self._threads)

    def report(self) -> Mapping[str, Any]:
        """Why a GPU of this machine was not used, if there is one."""
        return {"unused_gpu": self._unused} if self._unused else {}

    def close(self) -> None:
        """Nothing to release beyond what Python frees."""


def touch(core: Any) -> None:
    """One inference on one thread, before there are others.

    OpenVINO makes its table of dtypes when it sees the first array, and needs the interpreter's lock for that: two
    threads that see their first arrays at once deadlock.
    """
    from openvino import Model, opset8

    for dtype in (np.uint8, np.float32):
        given = opset8.parameter([1], dtype)
        request = core.compile_model(Model([opset8.convert(given, "f32")], [given]), "CPU").create_infer_request()
        request.infer([np.zeros(1, dtype)], share_inputs=True)
        request.get_output_tensor(0).data.copy()


class OpenVinoInfer:
    """One compiled model with a pool of requests; short batches are padded to the fixed size."""

    def __init__(self, compiled: Any, spec: ModelSpec, batch: int, streams: int) -> None:
        self.batch = batch
        # One more request than streams: while its caller fetches results and tiles, no core waits.
        self.in_flight = streams + 1
        self._spec = spec
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.in_flight):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch of at most `batch` items."""
        n = count(inputs, self._spec, self.batch)
        padded = {t.name: filled(inputs[t.name], self.batch) for t in self._spec.inputs}
        request = self._requests.get()
        try:
            request.infer(padded, share_inputs=True)
            return {t.name: request.get_output_tensor(i).data[:n].copy() for i, t in enumerate(self._spec.outputs)}
        except RuntimeError as e:
            raise BackendError(f"model {self._spec.name!r}: OpenVINO failed: {e}", "try precision=f32") from e
        finally:
            self._requests.put(request)
