"""Backend `local`: in this process, OpenVINO on a CPU and PyTorch on an accelerator."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from kras_plugins import BackendPlugin, Options, hookimpl, tuning
from kras_plugins.models.devices import known_device

if TYPE_CHECKING:
    from kras_plugins import Backend

_log = logging.getLogger("kras.backend.local")


class LocalOptions(Options):
    """Options of backend `local`. What actually computes, and on what, is in the name of its engine."""

    engine: Literal["auto", "openvino", "torch", "onnxruntime"] = Field(
        "auto",
        description="what computes: `auto` is OpenVINO on a CPU, PyTorch on an accelerator; "
        "`onnxruntime` is for models that are ONNX files, on NVIDIA",
    )
    # It affects no result by itself: the engine's name contains the device's, and cards of one kind compute alike.
    device: str = tuning(
        "auto",
        description="where: `auto` is one accelerator that PyTorch sees, else the CPU; `cpu`, `cuda` (all NVIDIA GPUs, "
        "of one kind), `cuda:N`, `mps` (Apple), `xpu` (Intel)",
    )
    precision: Literal["auto", "f32", "bf16", "f16"] = Field(
        "auto",
        description="arithmetic: `auto` is bf16 on CPUs (OpenVINO) and NVIDIA GPUs that have it, "
        "f16 on older NVIDIA GPUs, else f32",
    )
    batch: int = Field(
        0,
        ge=0,
        le=512,
        description="tiles per request, 0 for what suits the device; engines round differently by shape",
    )
    compile: bool = Field(False, description="PyTorch: compile networks (torch.compile); takes minutes at each start")
    graphs: bool = tuning(True, description="PyTorch on NVIDIA: run each batch as one CUDA graph")
    threads: int = tuning(0, ge=0, description="OpenVINO: CPU threads, 0 for all cores")

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if device == "tensorrt":
            raise ValueError("tensorrt is gone: use device=cuda (PyTorch), or Triton with TensorRT (--backend triton)")
        return known_device(device)


def create(options: LocalOptions) -> Backend:
    """Open the engine that the options ask for; BackendError if it or its device is not available."""
    from kras_backend_local.choice import choose

    target = choose(options.engine, options.device)
    if target.unused:
        _log.warning("the CPU computes, not this machine's NVIDIA GPU: %s", target.unused)
    if target.engine == "openvino":
        from kras_backend_local.openvino_engine import OpenVino

        return OpenVino(options, target.unused)
    if target.engine == "onnxruntime":
        from kras_backend_local.onnxruntime_engine import OnnxRuntime

        return OnnxRuntime(options, target)
    from kras_backend_local.torch_engine import Torch

    modules = Torch(options, target)
    if options.engine == "auto" and target.kind == "cuda" and modules.precision == "f32":
        from kras_backend_local.onnxruntime_engine import OnnxRuntime, has_cuda

        if has_cuda():
            from kras_backend_local.by_model import ByModel

            return ByModel(modules, OnnxRuntime(options, target))
    return modules


@hookimpl
def kras_backends() -> Iterable[BackendPlugin]:
    """Yield `local`."""
    yield BackendPlugin(
        name="local",
        summary="in this process: OpenVINO on CPUs (bf16 where they have it), PyTorch on accelerators",
        options=LocalOptions,
        create=create,
    )
