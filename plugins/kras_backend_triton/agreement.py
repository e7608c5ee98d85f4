"""Whether a server holds what a ModelSpec describes, and in what arithmetic it computes: nothing is taken on trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kras_plugins import BackendError, ModelSpec, TensorSpec
from kras_plugins.models.repository import DIGEST, TRANSFORM

STAND_IN = "model.py"
"""The `runtime` of models in kras' own CPU server; anything else is a native backend."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How one server runs one model.

    `engine`: server version and what computes. `precision`: its arithmetic. `instances`: how many batches it computes
    at once. `batch`: tiles per request that suit it.
    """

    engine: str
    precision: str
    instances: int
    batch: int


def check_model(config: Any, spec: ModelSpec, digest: str, url: str) -> None:
    """Compare a model's configuration with the spec; BackendError naming what differs.

    `config` is Triton's ModelConfig message, `digest` what `weights.model_digest(spec)` gives here.
    """
    facts = {name: parameter.string_value for name, parameter in config.parameters.items()}
    held = facts.get(DIGEST, "")
    if held != digest:
        raise BackendError(
            f"{url}: model {spec.name!r} has digest {held or 'none'}, wanted is {digest}: other weights, tensors or "
            "transform",
            f"export it with the same options (`kras model export {spec.name}`) and restart the server",
        )
    if facts.get(TRANSFORM) != spec.transform_hash:
        raise BackendError(
            f"{url}: model {spec.name!r} has transform {facts.get(TRANSFORM) or 'none'}, wanted is "
            f"{spec.transform_hash}",
            f"export it anew: `kras model export {spec.name}`",
        )
    for what, here, there in (("input", spec.inputs, config.input), ("output", spec.outputs, config.output)):
        wanted, found = [_said(t) for t in here], [_found(t) for t in there]
        if sorted(wanted) != sorted(found):
            raise BackendError(
                f"{url}: model {spec.name!r} has {what}s {', '.join(found)}; wanted are {', '.join(wanted)}",
                f"export it anew: `kras model export {spec.name}`",
            )


def read_terms(config: Any, server_name: str, server_version: str) -> Terms:
    """How a server runs a model, from its configuration as the server completed it.

    kras' CPU server names engine and arithmetic in its identity (`kras/ENGINE/PRECISION`); a native backend computes
    in f16 where TensorRT was told so on a GPU, else in f32.
    """
    from tritonclient.grpc import model_config_pb2 as pb

    groups = list(config.instance_group)
    on_gpu = any(g.kind == pb.ModelInstanceGroup.KIND_GPU for g in groups)
    instances = sum(g.count * max(1, len(g.gpus)) for g in groups) or 1
    preferred = list(config.dynamic_batching.preferred_batch_size) or [config.max_batch_size]
    if config.runtime == STAND_IN and server_name.count("/") == 2:
        _, engine, precision = server_name.split("/")
    else:
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        tensorrt = [a for a in accelerators if a.name == "tensorrt"] if on_gpu else []
        precision = "f16" if any(a.parameters.get("precision_mode") == "FP16" for a in tensorrt) else "f32"
        device = "gpu" if on_gpu else "cpu"
        engine = f"{config.backend} {device}{' tensorrt' if tensorrt else ''}"
    return Terms(
        engine=f"triton {server_version} {engine}",
        precision=precision,
        instances=instances,
        # A GPU wants one full batch a request; a CPU the smallest, so that no instance waits while another has two.
        batch=max(preferred) if on_gpu else min(preferred),
    )


def _said(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _found(tensor: Any) -> str:
    from tritonclient.grpc import model_config_pb2 as pb

    names = {pb.TYPE_UINT8: "uint8", pb.TYPE_FP32: "float32"}
    return f"{tensor.name} {names.get(tensor.data_type, pb.DataType.Name(tensor.data_type))}{list(tensor.dims)}"
