"""A Triton model repository: `NAME/config.pbtxt` and `NAME/VERSION/model.onnx`, both made from a ModelSpec."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kras_plugins.contracts.model import ModelSpec, TensorSpec
from kras_plugins.errors import BackendError
from kras_plugins.models.export import OPSET, export_onnx, opset_of
from kras_plugins.models.weights import model_digest
from kras_plugins.store import write_atomic

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

Precision = Literal["f16", "f32"]
"""Arithmetic of TensorRT on GPUs. What a CPU computes in is said when the server starts."""

CONTAINER = "nvcr.io/nvidia/tritonserver:24.10-py3"
"""NVIDIA's container of the server version that the tests run (2.51); its ONNX Runtime reads opset 18 and IR 10."""

DIGEST = "model_digest"
"""The parameter that names the weights, tensors and transform a server holds; see `weights.model_digest`."""

TRANSFORM = "transform_hash"
"""The parameter that names what happens to pixels; see `ModelSpec.transform_hash`."""

_QUEUE_DELAY_US = 2_000
"""Two milliseconds to fill a batch: a request of 8 tiles takes longer on any device measured, so none is held up by
it twice, and several clients' requests still meet. benchmarks/serving.py measures it."""

_WORKSPACE_BYTES = 4 << 30

LARGEST = 64
"""Tiles a batch on a server, though small networks take more: TensorRT builds for the largest, clients hold as much
shared memory a request, and a CPU's requests are a quarter of it."""


def model_config(spec: ModelSpec, *, digest: str, precision: Precision = "f16", opset: int = OPSET) -> ModelConfig:
    """Triton's configuration of one model, as its own protobuf message.

    `digest` is `weights.model_digest(spec)`; empty leaves it out, and clients refuse such a server. GPUs run TensorRT
    in `precision`, other devices the plain ONNX graph. One version is served, the latest: the digest is that version's,
    and TensorRT's cached engines, which ONNX Runtime does not tell apart by weights, lie in a folder named by it.
    """
    from tritonclient.grpc import model_config_pb2 as pb

    largest = min(spec.max_batch, LARGEST)
    # A GPU fills at the largest batch; the smaller sizes keep one client's requests from waiting for a second's.
    preferred = sorted({max(1, largest // 4), max(1, largest // 2), largest})
    tensorrt = {
        "precision_mode": "FP16" if precision == "f16" else "FP32",
        "max_workspace_size_bytes": str(_WORKSPACE_BYTES),
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": f"/tmp/kras-tensorrt/{spec.name}-{digest[:16] or 'any'}",
        "trt_profile_min_shapes": _shapes(spec, 1),
        "trt_profile_opt_shapes": _shapes(spec, largest),
        "trt_profile_max_shapes": _shapes(spec, largest),
    }
    facts = {DIGEST: digest, TRANSFORM: spec.transform_hash, "opset": str(opset), "made_by": "kras model export"}
    accelerator = pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(name="tensorrt", parameters=tensorrt)
    return pb.ModelConfig(
        name=spec.name,
        backend="onnxruntime",
        default_model_filename="model.onnx",
        max_batch_size=largest,
        input=[pb.ModelInput(name=t.name, data_type=_dtype(t), dims=t.shape) for t in spec.inputs],
        output=[pb.ModelOutput(name=t.name, data_type=_dtype(t), dims=t.shape) for t in spec.outputs],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        # Two instances a device: one copies its tensors while the other computes.
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_AUTO, count=2)],
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=preferred, max_queue_delay_microseconds=_QUEUE_DELAY_US
        ),
        optimization=pb.ModelOptimizationPolicy(
            execution_accelerators=pb.ModelOptimizationPolicy.ExecutionAccelerators(
                gpu_execution_accelerator=[accelerator]
            )
        ),
        # One tile: TensorRT builds its engine for the whole profile, and a CPU with a large network is not held up.
        model_warmup=[_warmup(spec)],
        parameters={k: pb.ModelParameter(string_value=v) for k, v in facts.items() if v},
    )


def config_text(config: ModelConfig) -> str:
    """A configuration as the text of `config.pbtxt`, in the order of Triton's schema."""
    from google.protobuf import text_format

    head = "# Written by `kras model export` from the plug-in's ModelSpec; changes are lost at the next export.\n"
    return head + str(text_format.MessageToString(config))


def parse_config(text: str) -> ModelConfig:
    """The strict reading of a `config.pbtxt`: an unknown or misplaced field raises BackendError."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as e:
        raise BackendError(f"config.pbtxt: {e}", "export the model anew with `kras model export`") from e


def export_model(spec: ModelSpec, repository: Path, *, precision: Precision = "f16", opset: int = OPSET) -> Path:
    """Write one model into a repository, verified against PyTorch; returns the ONNX file.

    A file appears only when it is whole. While the model is replaced the configuration names no digest, so that an
    export that was cut short is refused by clients and never taken for the old model. A ready-made file keeps its own
    `opset`, and the configuration says which. Raises BackendError when weights are missing or the export differs from
    PyTorch.
    """
    digest = model_digest(spec)
    home = repository / spec.name
    folder = home / str(spec.version)
    folder.mkdir(parents=True, exist_ok=True)
    for left in home.glob(".export-*"):  # of an export that was killed
        shutil.rmtree(left)
    # In the model's own folder, where Triton looks at nothing but versions.
    with tempfile.TemporaryDirectory(dir=home, prefix=".export-") as work:
        export_onnx(spec, Path(work) / "model.onnx", opset)
        opset = opset_of(Path(work) / "model.onnx")
        unnamed = model_config(spec, digest="", precision=precision, opset=opset)
        write_atomic(home / "config.pbtxt", config_text(unnamed))
        # Above 2 GB the weights lie beside the graph; the graph comes last.
        for file in sorted(Path(work).iterdir(), key=lambda f: f.name == "model.onnx"):
            file.replace(folder / file.name)
    config = model_config(spec, digest=digest, precision=precision, opset=opset)
    write_atomic(home / "config.pbtxt", config_text(config))
    return folder / "model.onnx"


def _dtype(tensor: TensorSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    return {"uint8": pb.TYPE_UINT8, "float32": pb.TYPE_FP32}[tensor.dtype]


def _warmup(spec: ModelSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    inputs = {t.name: pb.ModelWarmup.Input(data_type=_dtype(t), dims=t.shape, random_data=True) for t in spec.inputs}
    return pb.ModelWarmup(name="one", batch_size=1, inputs=inputs)


def _shapes(spec: ModelSpec, batch: int) -> str:
    return ",".join(f"{t.name}:{'x'.join(map(str, (batch, *t.shape)))}" for t in spec.inputs)
