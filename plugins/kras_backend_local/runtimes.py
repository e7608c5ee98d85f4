"""Two engines behind one face: OpenVINO on the CPU, ONNX Runtime on NVIDIA."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kras_plugins import Backend, BackendError, ModelSpec
from kras_plugins.models.export import onnx_file
from kras_plugins.store import Store

if TYPE_CHECKING:
    from kras_backend_local import LocalOptions
    from kras_plugins.contracts.backend import Arrays

_CPU_BATCH = 2
"""Measured on two cores with ViT-S/16 in bf16, one stream a core: the best of 1 to 16 (docs/decisions/0003)."""
_GPU_BATCH = 64


def create(options: LocalOptions) -> Backend:
    """Open the engine that the options ask for; BackendError when it is not there."""
    device = options.device
    if device == "auto":
        device = "cuda" if _has_cuda() else "cpu"
    store = Store()
    return OpenVino(options, store) if device == "cpu" else OnnxRuntime(options, store, device)


def _has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers() and os.path.exists("/dev/nvidia0")


class OpenVino:
    """Backend on the CPU: one stream per thread pair of requests, static batch, deterministic per shape."""

    def __init__(self, options: LocalOptions, store: Store) -> None:
        import openvino

        self._core = openvino.Core()
        _touch(self._core)
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        wanted = options.precision if options.precision != "auto" else ("bf16" if has_bf16 else "f32")
        if wanted == "f16" or (wanted == "bf16" and not has_bf16):
            raise BackendError(f"this processor has no fast {wanted}", "set -o backend.local.precision=auto (or f32)")
        self.precision: str = wanted
        self._store = store
        self._batch = options.batch or _CPU_BATCH
        self.engine = f"openvino {metadata.version('openvino')} batch {self._batch}"
        self._threads = options.threads or os.cpu_count() or 1

    def load(self, spec: ModelSpec) -> OpenVinoInfer:
        """Compile the model for a fixed batch: the same tile then gives the same bits whatever else is asked."""
        model = self._core.read_model(onnx_file(spec, self._store))
        batch = min(self._batch, spec.max_batch)
        model.reshape({t.name: [batch, *t.shape] for t in spec.inputs})
        compiled = self._core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self.precision,
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": self._threads,
                "INFERENCE_NUM_THREADS": self._threads,
            },
        )
        return OpenVinoInfer(compiled, spec, batch, self._threads)

    def report(self) -> Mapping[str, Any]:
        """Nothing that the run's own timings do not say."""
        return {}

    def close(self) -> None:
        """Nothing to release beyond what Python frees."""


def _touch(core: Any) -> None:
    """One inference on one thread, before there are others.

    OpenVINO makes its table of dtypes at the first array it sees and needs the interpreter's lock meanwhile: two
    threads that see their first arrays at once wait for each other for ever.
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
        # One request more than streams: while its caller fetches results and tiles, no core waits.
        self.in_flight = streams + 1
        self._spec = spec
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.in_flight):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch of at most `batch` items."""
        n = len(next(iter(inputs.values())))
        if not 0 < n <= self.batch:
            raise BackendError(f"model {self._spec.name!r}: a batch of {n}, at most {self.batch} fit", "cut it smaller")
        padded = {name: _pad(array, self.batch) for name, array in inputs.items()}
        request = self._requests.get()
        try:
            request.infer(padded, share_inputs=True)
            return {t.name: request.get_output_tensor(i).data[:n].copy() for i, t in enumerate(self._spec.outputs)}
        except RuntimeError as e:
            raise BackendError(f"model {self._spec.name!r}: OpenVINO failed: {e}", "try precision=f32") from e
        finally:
            self._requests.put(request)


def _pad(array: npt.NDArray[Any], batch: int) -> npt.NDArray[Any]:
    if len(array) == batch:
        return np.ascontiguousarray(array)
    full = np.zeros((batch, *array.shape[1:]), array.dtype)
    full[: len(array)] = array
    return full


class OnnxRuntime:
    """Backend on NVIDIA through ONNX Runtime's CUDA or TensorRT provider. Never run on this project's machines."""

    def __init__(self, options: LocalOptions, store: Store, device: str) -> None:
        import onnxruntime

        provider = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[device]
        if provider not in onnxruntime.get_available_providers():
            raise BackendError(
                f"ONNX Runtime has no {provider} here",
                "pip install 'kras[gpu]' on a machine with an NVIDIA driver",
            )
        self._device = device
        self._batch = options.batch or _GPU_BATCH
        self._store = store
        fast = {"cuda": "f32", "tensorrt": "f16"}[device]
        self.precision: str = options.precision if options.precision != "auto" else fast
        if self.precision == "bf16" or (self.precision == "f16" and device == "cuda"):
            raise BackendError(
                f"backend local cannot run {self.precision} on {device}",
                "use device=tensorrt for f16, or precision=f32",
            )
        self.engine = f"onnxruntime {onnxruntime.__version__} {device} batch {self._batch}"

    def load(self, spec: ModelSpec) -> OnnxRuntimeInfer:
        """Open a session; TensorRT keeps its built engines beside the ONNX file."""
        import onnxruntime

        file = onnx_file(spec, self._store)
        batch = min(self._batch, spec.max_batch)
        cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})
        tensorrt = (
            "TensorrtExecutionProvider",
            {
                "trt_fp16_enable": self.precision == "f16",
                "trt_engine_cache_enable": True,
                "trt_engine_cache_path": str(file.parent),
                **_profile_shapes(spec, batch),
            },
        )
        providers = [tensorrt, cuda] if self._device == "tensorrt" else [cuda]
        session = onnxruntime.InferenceSession(str(file), providers=providers)
        return OnnxRuntimeInfer(session, spec, batch)

    def report(self) -> Mapping[str, Any]:
        """Nothing that the run's own timings do not say."""
        return {}

    def close(self) -> None:
        """Nothing to release beyond what Python frees."""


def _profile_shapes(spec: ModelSpec, batch: int) -> dict[str, str]:
    def shapes(n: int) -> str:
        return ",".join(f"{t.name}:{'x'.join(map(str, (n, *t.shape)))}" for t in spec.inputs)

    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(batch),
        "trt_profile_max_shapes": shapes(batch),
    }


class OnnxRuntimeInfer:
    """One ONNX Runtime session; two calls in flight overlap transfers with computing."""

    in_flight = 2

    def __init__(self, session: Any, spec: ModelSpec, batch: int) -> None:
        self.batch = batch
        self._session = session
        self._spec = spec

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch of at most `batch` items."""
        names = [t.name for t in self._spec.outputs]
        try:
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        except Exception as e:
            raise BackendError(f"model {self._spec.name!r}: ONNX Runtime failed: {e}", "try a smaller batch") from e
