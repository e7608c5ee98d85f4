"""A Triton model repository: `NAME/config.pbtxt` and `NAME/VERSION/model.onnx`, both made from a ModelSpec."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.contracts.model import ModelSpec, TensorSpec
from kras_plugins.errors import BackendError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.models.export import OPSET, Asked, export_onnx, opset_of
from kras_plugins.models.precision import Precision, graph_precision, has_offsets
from kras_plugins.models.uint8_input import broken_rule
from kras_plugins.models.weights import model_digest

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

CONTAINER = "nvcr.io/nvidia/tritonserver:26.07-py3"
"""NVIDIA's container. docs/how-to/serve-with-triton.md says why this one, which others work and what each breaks."""

DIGEST = "model_digest"
"""The parameter that names the weights, tensors and transform of a server's model; see `weights.model_digest`."""

TRANSFORM = "transform_hash"
"""The parameter that names what happens to pixels; see `ModelSpec.transform_hash`."""

PRECISION = "precision"
"""The parameter that names the arithmetic of the graph, read from it; see `precision.graph_precision`."""

_QUEUE_DELAY_US = 2_000
"""Two milliseconds to fill a batch: a request of 8 tiles takes longer on every measured device, so that none waits
for it twice, and requests of several clients still share batches. benchmarks/serving.py measures it."""

_WORKSPACE_BYTES = 4 << 30

LARGEST = 64
"""Tiles per batch on a server, although small networks could take more: TensorRT builds for the largest, clients need
as much shared memory per request, and a CPU's requests are a quarter of it."""


def model_config(spec: ModelSpec, *, digest: str, precision: Precision = "f32", opset: int = OPSET) -> ModelConfig:
    """Triton's configuration of one model, as its own protobuf message.

    `digest` is `weights.model_digest(spec)`; empty leaves it out, and clients refuse such a server. `precision` is the
    graph's: GPUs run it through TensorRT, which is given no precision of its own and computes in that of the graph.
    Only the latest version is served, and the digest is that version's. TensorRT's cached engines are in a folder named
    by it, because ONNX Runtime does not distinguish them by weights. (ONNX Runtime makes one folder, not its parents.)
    """
    from tritonclient.grpc import model_config_pb2 as pb

    largest = min(spec.max_batch, LARGEST)
    # A GPU fills at the largest batch; the smaller sizes keep one client's requests from waiting for a second's.
    preferred = sorted({max(1, largest // 4), max(1, largest // 2), largest})
    tensorrt = {
        "max_workspace_size_bytes": str(_WORKSPACE_BYTES),
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": f"/tmp/kras-tensorrt-{spec.name}-{digest[:16] or 'any'}-{precision}",
        "trt_profile_min_shapes": _shapes(spec, 1),
        "trt_profile_opt_shapes": _shapes(spec, largest),
        "trt_profile_max_shapes": _shapes(spec, largest),
    }
    facts = {
        DIGEST: digest,
        TRANSFORM: spec.transform_hash,
        PRECISION: precision,
        "opset": str(opset),
        "made_by": "kras model export",
    }
    accelerator = pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator
    return pb.ModelConfig(
        name=spec.name,
        backend="onnxruntime",
        default_model_filename="model.onnx",
        max_batch_size=largest,
        input=[pb.ModelInput(name=t.name, data_type=_dtype(t), dims=t.shape) for t in spec.inputs],
        output=[pb.ModelOutput(name=t.name, data_type=_dtype(t), dims=t.shape) for t in spec.outputs],
        version_policy=pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=1)),
        # Two instances per device: one copies its tensors while the other computes.
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_AUTO, count=2)],
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=preferred, max_queue_delay_microseconds=_QUEUE_DELAY_US
        ),
        optimization=pb.ModelOptimizationPolicy(
            execution_accelerators=pb.ModelOptimizationPolicy.ExecutionAccelerators(
                # CUDA runs what TensorRT does not accept; float32 products must not be rounded to TF32 there.
                gpu_execution_accelerator=[
                    accelerator(name="tensorrt", parameters=tensorrt),
                    accelerator(name="cuda", parameters={"use_tf32": "0"}),
                ]
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
    """Read a `config.pbtxt` strictly: an unknown or misplaced field raises BackendError."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as e:
        raise BackendError(f"config.pbtxt: {e}", "export the model again with `kras model export`") from e


def export_model(spec: ModelSpec, repository: Path, *, precision: Asked = "f32", opset: int = OPSET) -> Path:
    """Write one model into a repository, verified against PyTorch; returns the ONNX file.

    A file appears only when it is complete. While the model is being replaced, the configuration names no digest, so
    that clients refuse an interrupted export and never take it for the old model. A ready-made file keeps its own
    `opset`, and its own precision where f32 is asked for; the configuration says which. Raises BackendError when
    weights are missing, the export differs from PyTorch or TensorRT would refuse the graph.
    """
    digest = model_digest(spec)
    home = repository / spec.name
    folder = home / str(spec.version)
    folder.mkdir(parents=True, exist_ok=True)
    for left in home.glob(".export-*"):  # of an export that was killed
        shutil.rmtree(left)
    # In the model's own folder, where Triton looks at nothing but versions.
    with tempfile.TemporaryDirectory(dir=home, prefix=".export-") as work:
        export_onnx(spec, Path(work) / "model.onnx", opset, precision)
        opset = opset_of(Path(work) / "model.onnx")
        found = _served_precision(spec, Path(work) / "model.onnx")
        unnamed = model_config(spec, digest="", precision=found, opset=opset)
        write_atomic(home / "config.pbtxt", config_text(unnamed))
        # Above 2 GB the weights are in files beside the graph; the graph comes last.
        for file in sorted(Path(work).iterdir(), key=lambda f: f.name == "model.onnx"):
            file.replace(folder / file.name)
    config = model_config(spec, digest=digest, precision=found, opset=opset)
    write_atomic(home / "config.pbtxt", config_text(config))
    return folder / "model.onnx"


def _served_precision(spec: ModelSpec, file: Path) -> Precision:
    """The arithmetic of an exported graph; BackendError where TensorRT would refuse it."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    if why := broken_rule(model):
        raise BackendError(
            f"model {spec.name!r}: {why}, which TensorRT refuses",
            "cast the pixels to float32 first and export the network again; backend local accepts it as it is",
        )
    precision = graph_precision(model)
    if precision == "int8" and has_offsets(onnx.load(str(file))):
        raise BackendError(
            f"model {spec.name!r}: its int8 zero points are not 0, which TensorRT refuses",
            "quantize it again with `kras model quantize`; backend local accepts it as it is",
        )
    return precision


def _dtype(tensor: TensorSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    return {"uint8": pb.TYPE_UINT8, "float32": pb.TYPE_FP32}[tensor.dtype]


def _warmup(spec: ModelSpec) -> Any:
    from tritonclient.grpc import model_config_pb2 as pb

    inputs = {t.name: pb.ModelWarmup.Input(data_type=_dtype(t), dims=t.shape, random_data=True) for t in spec.inputs}
    return pb.ModelWarmup(name="one", batch_size=1, inputs=inputs)


def _shapes(spec: ModelSpec, batch: int) -> str:
    return ",".join(f"{t.name}:{'x'.join(map(str, (batch, *t.shape)))}" for t in spec.inputs)
