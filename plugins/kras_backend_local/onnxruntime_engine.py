"""ONNX Runtime on NVIDIA GPUs, for models that are ONNX files. Never run by us: our machines have no GPU."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kras_backend_local.batches import batch_of, count, filled
from kras_backend_local.choice import Target
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import BackendError, described
from kras_plugins.models.export import is_ready_made, onnx_file

if TYPE_CHECKING:
    from kras_backend_local import LocalOptions
    from kras_plugins.contracts.backend import Arrays

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall onnxruntime, then pip install onnxruntime-gpu: both write into one folder"

_BATCH = 64
_AT_ONCE = 2
"""Calls per session: one copies while the other computes."""


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime has CUDA."""
    import onnxruntime

    return PROVIDER in onnxruntime.get_available_providers()


class OnnxRuntime:
    """Backend for ready-made ONNX files on the cards of `target`, in the file's own arithmetic: f32 without TF32."""

    precision = "f32"

    def __init__(self, options: LocalOptions, target: Target) -> None:
        import onnxruntime

        if not has_cuda():
            raise BackendError(f"ONNX Runtime {onnxruntime.__version__} here has no CUDA", INSTALL)
        if options.precision not in ("auto", "f32"):
            raise BackendError(
                f"engine onnxruntime computes in f32, not {options.precision}", "leave precision=auto (or f32)"
            )
        self._asked = options.batch
        self._devices = target.devices
        self.engine = f"onnxruntime {onnxruntime.__version__} {target.name} batch {options.batch or _BATCH}"

    def load(self, spec: ModelSpec) -> OnnxRuntimeInfer:
        """Open one session per card; BackendError where one would not compute on it."""
        import onnxruntime

        if not is_ready_made(spec):
            raise BackendError(
                f"model {spec.name!r} is not an ONNX file; engine onnxruntime runs only those",
                "set -o backend.local.engine=auto (or torch)",
            )
        file, sessions = onnx_file(spec), []
        for device in self._devices:
            settings = {"device_id": device.partition(":")[2], "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
            try:
                session = onnxruntime.InferenceSession(str(file), providers=[(PROVIDER, settings)])
            except Exception as e:  # ONNX Runtime has an error for each cause
                raise BackendError(f"model {spec.name!r}: ONNX Runtime failed: {described(e)}", INSTALL) from e
            # If a provider's libraries do not load, it is dropped with a line in a log, and the CPU computes.
            if session.get_providers()[0] != PROVIDER:
                raise BackendError(
                    f"model {spec.name!r}: ONNX Runtime {onnxruntime.__version__} cannot use {device}",
                    "install the CUDA and cuDNN that this onnxruntime-gpu was built for; the log names what is missing",
                )
            session.disable_fallback()
            sessions.append(session)
        return OnnxRuntimeInfer(sessions, spec, batch_of(spec, self._asked, _BATCH))

    def report(self) -> Mapping[str, Any]:
        """The cards."""
        return {"devices": list(self._devices)}

    def close(self) -> None:
        """Nothing to release beyond what Python frees."""


class OnnxRuntimeInfer:
    """A session on each card; short batches are padded to the fixed size."""

    def __init__(self, sessions: list[Any], spec: ModelSpec, batch: int) -> None:
        self.batch = batch
        self.in_flight = _AT_ONCE * len(sessions)
        self._spec = spec
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for session in sessions * _AT_ONCE:
            self._free.put(session)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch of at most `batch` items."""
        n = count(inputs, self._spec, self.batch)
        padded = {t.name: filled(inputs[t.name], self.batch) for t in self._spec.inputs}
        names = [t.name for t in self._spec.outputs]
        session = self._free.get()
        try:
            made = session.run(names, padded)
        except Exception as e:
            raise BackendError(
                f"model {self._spec.name!r}: ONNX Runtime failed: {described(e)}",
                "try a smaller batch: -o backend.local.batch=N",
            ) from e
        finally:
            self._free.put(session)
        return {name: array[:n] for name, array in zip(names, made, strict=True)}
