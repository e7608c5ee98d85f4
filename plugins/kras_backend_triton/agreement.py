"""Whether a server has what a ModelSpec describes, and in what arithmetic it computes: nothing is taken on trust."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kras_plugins import BackendError, ModelSpec, TensorSpec
from kras_plugins.models.repository import DIGEST, PRECISION, TRANSFORM

STAND_IN = "model.py"
"""The `runtime` of models in kras' own CPU server; anything else is a native backend."""

NATIVE = "native"
"""First word of the identity that printed commands give a container, `native/GPU/IMAGE`: no server states it itself."""

_UNKNOWN = "unknown"

_COARSENESS = ("f32", "tf32", "f16", "bf16", "int8")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How one server runs one model.

    `engine`: server version and what computes. `precision`: its arithmetic. `instances`: how many batches it computes
    at once. `batch`: its preferred tiles per request.
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
            f"{url}: model {spec.name!r} has digest {held or 'none'}, expected is {digest}: other weights, tensors or "
            "transform",
            f"export it with the same options (`kras model export {spec.name}`) and restart the server",
        )
    if PRECISION not in facts:
        raise BackendError(
            f"{url}: model {spec.name!r} does not state the precision of its graph: an older kras exported it",
            f"export it again: `kras model export {spec.name}`",
        )
    if facts.get(TRANSFORM) != spec.transform_hash:
        raise BackendError(
            f"{url}: model {spec.name!r} has transform {facts.get(TRANSFORM) or 'none'}, expected is "
            f"{spec.transform_hash}",
            f"export it again: `kras model export {spec.name}`",
        )
    for what, here, there in (("input", spec.inputs, config.input), ("output", spec.outputs, config.output)):
        wanted, found = [_said(t) for t in here], [_found(t) for t in there]
        if sorted(wanted) != sorted(found):
            raise BackendError(
                f"{url}: model {spec.name!r} has {what}s {', '.join(found)}; expected are {', '.join(wanted)}",
                f"export it again: `kras model export {spec.name}`",
            )


def read_terms(config: Any, server_name: str, server_version: str) -> Terms:
    """How a server runs a model, from its configuration as the server completed it.

    The arithmetic is the graph's, which the exporter read from it, or the server's where that is coarser. kras' CPU
    server names engine and arithmetic in its identity (`kras/ENGINE/PRECISION`); a container started by the printed
    commands names GPU and image (`native/GPU/IMAGE`). On an unknown GPU, f32 may be TF32 and is called that.
    """
    from tritonclient.grpc import model_config_pb2 as pb

    groups = list(config.instance_group)
    on_gpu = any(g.kind == pb.ModelInstanceGroup.KIND_GPU for g in groups)
    instances = sum(g.count * max(1, len(g.gpus)) for g in groups) or 1
    preferred = list(config.dynamic_batching.preferred_batch_size) or [config.max_batch_size]
    graph = config.parameters[PRECISION].string_value if PRECISION in config.parameters else _UNKNOWN
    who, engine, last = server_name.split("/") if server_name.count("/") == 2 else ("", "", "")
    if config.runtime == STAND_IN and who:
        # A float16 graph has other weights than a float32 one, whatever computes it.
        engine, computes = engine + (f" {graph} graph" if graph != "f32" else ""), last
    else:
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        tensorrt = " tensorrt" if on_gpu and any(a.name == "tensorrt" for a in accelerators) else ""
        known = who == NATIVE and engine not in ("", "cpu")
        where = f" {engine} {last}" if known and on_gpu else ""
        engine = f"{config.backend} {'gpu' if on_gpu else 'cpu'}{tensorrt}{where}"
        computes = "tf32" if on_gpu and not known else "f32"
    precision = max(graph, computes, key=_COARSENESS.index) if graph in _COARSENESS else _UNKNOWN
    return Terms(
        engine=f"triton {server_version} {engine}",
        precision=precision,
        instances=instances,
        # A GPU needs one full batch per request, a CPU the smallest, so that no instance waits while another has two.
        batch=max(preferred) if on_gpu else min(preferred),
    )


def _said(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _found(tensor: Any) -> str:
    from tritonclient.grpc import model_config_pb2 as pb

    names = {pb.TYPE_UINT8: "uint8", pb.TYPE_FP32: "float32"}
    return f"{tensor.name} {names.get(tensor.data_type, pb.DataType.Name(tensor.data_type))}{list(tensor.dims)}"
