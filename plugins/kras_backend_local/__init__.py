"""Backend `local`: runs the exported ONNX file in this process, OpenVINO on CPUs, ONNX Runtime on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from kras_plugins import BackendPlugin, Options, hookimpl, tuning

if TYPE_CHECKING:
    from kras_plugins import Backend


class LocalOptions(Options):
    """Options of backend `local`."""

    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto",
        description="where to run: `auto` takes an NVIDIA GPU when ONNX Runtime sees one, else the CPU",
    )
    precision: Literal["auto", "f32", "bf16", "f16"] = Field(
        "auto", description="arithmetic: `auto` is bf16 on CPUs that have it, f16 with TensorRT, else f32"
    )
    batch: int = Field(
        0,
        ge=0,
        le=512,
        description="tiles per request, 0 for what suits the device; engines round differently by shape",
    )
    threads: int = tuning(0, ge=0, description="CPU threads, 0 for all cores")


def _create(options: LocalOptions) -> Backend:
    from kras_backend_local.runtimes import create

    return create(options)


@hookimpl
def kras_backends() -> Iterable[BackendPlugin]:
    """Yield `local`."""
    yield BackendPlugin(
        name="local",
        summary="in this process: OpenVINO on CPUs (bf16 where they have it), ONNX Runtime on NVIDIA",
        options=LocalOptions,
        create=_create,
    )
