"""A repository exported here loads elsewhere: its configuration is Triton's own message, whole and exact."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_server import answer, halvable, tiny
from tritonclient.grpc import model_config_pb2 as pb

from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.contracts.model import ModelSpec, TensorSpec, Weights
from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.errors import BackendError
from kras_plugins.host.config import Config
from kras_plugins.host.manager import discover
from kras_plugins.models.precision import Precision
from kras_plugins.models.repository import CONTAINER, config_text, export_model, model_config, parse_config
from kras_plugins.models.weights import is_present, model_digest

ROOT = Path(__file__).resolve().parents[2]


def bundled_specs() -> list[ModelSpec]:
    """The models of all bundled plug-ins with their default options."""
    specs = []
    for p in discover().provided:
        if p.distribution == "kras" and isinstance(p.record, ExtractorPlugin | ProfilerPlugin):
            specs += p.record.models(Config().options_for(p.kind, p.record))
    return specs


@pytest.mark.parametrize("spec", bundled_specs(), ids=lambda s: s.name)
def test_committed_configurations_equal_generated_ones(spec: ModelSpec) -> None:
    # Without the digest: it names weights, which are the user's.
    committed = (ROOT / "model_repository" / spec.name / "config.pbtxt").read_text()
    assert committed == config_text(model_config(spec, digest=""))


def test_every_field_says_what_the_model_is() -> None:
    config = model_config(tiny(), digest="abc", precision="f16", opset=18)
    assert (config.name, config.backend, config.default_model_filename) == ("tiny", "onnxruntime", "model.onnx")
    assert config.max_batch_size == 16
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("tiles", pb.TYPE_UINT8, [8, 8, 3])]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [("features", pb.TYPE_FP32, [3])]
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert [(g.kind, g.count) for g in config.instance_group] == [(pb.ModelInstanceGroup.KIND_AUTO, 2)]
    gpu, cuda = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (gpu.name, cuda.name) == ("tensorrt", "cuda")
    assert "precision_mode" not in gpu.parameters, "with it ONNX Runtime lets TensorRT choose types by itself"
    assert dict(cuda.parameters) == {"use_tf32": "0"}
    assert gpu.parameters["trt_profile_min_shapes"] == "tiles:1x8x8x3"
    assert gpu.parameters["trt_profile_max_shapes"] == "tiles:16x8x8x3"
    assert not config.optimization.execution_accelerators.cpu_execution_accelerator
    assert config.version_policy.latest.num_versions == 1
    assert [(w.batch_size, list(w.inputs)) for w in config.model_warmup] == [(1, ["tiles"])]
    assert {k: v.string_value for k, v in config.parameters.items()} == {
        "model_digest": "abc",
        "transform_hash": tiny().transform_hash,
        "precision": "f16",
        "opset": "18",
        "made_by": "kras model export",
    }


@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("spec", bundled_specs(), ids=lambda s: s.name)
def test_the_container_knows_every_parameter_and_can_make_the_folder_of_engines(
    spec: ModelSpec, precision: Precision
) -> None:
    """Triton's backend refuses a model with a parameter it does not know; the file names facts and their source."""
    facts = tomllib.loads((Path(__file__).parent / "triton_container.toml").read_text())
    assert facts["image"] == CONTAINER
    config = parse_config(config_text(model_config(spec, digest="0" * 64, precision=precision)))
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        known = facts["accelerators"][accelerator.name]
        assert set(accelerator.parameters) <= set(known["parameters"]), accelerator.name
        for name, value in accelerator.parameters.items():
            kind = known["parameters"][name]
            assert re.fullmatch(facts["kinds"][kind], value), f"{name} = {value} is no {kind}"
    assert int(config.parameters["opset"].string_value) <= facts["onnx"]["opset"]
    shapes = {t.name: [1, *t.shape] for t in spec.inputs}
    (tensorrt, _) = config.optimization.execution_accelerators.gpu_execution_accelerator
    for which in ("min", "opt", "max"):
        given = dict(p.split(":") for p in tensorrt.parameters[f"trt_profile_{which}_shapes"].split(","))
        assert {name: [int(n) for n in text.split("x")][1:] for name, text in given.items()} == {
            name: shape[1:] for name, shape in shapes.items()
        }, "TensorRT's profile covers the graph's inputs and nothing else"
    assert Path(tensorrt.parameters["trt_engine_cache_path"]).parent == Path("/tmp"), "ONNX Runtime makes one folder"


names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=12)
tensors = st.lists(
    st.builds(
        TensorSpec,
        name=names,
        dtype=st.sampled_from(["uint8", "float32"]),
        shape=st.lists(st.integers(1, 4096), min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda t: t.name,
)


@settings(max_examples=40, deadline=None)
@given(name=names, inputs=tensors, outputs=tensors, largest=st.integers(1, 512), digest=names)
def test_any_model_survives_the_strict_reading_of_its_text(
    name: str, inputs: list[TensorSpec], outputs: list[TensorSpec], largest: int, digest: str
) -> None:
    spec = replace(tiny(), name=name, inputs=tuple(inputs), outputs=tuple(outputs), max_batch=largest)
    config = model_config(spec, digest=digest)
    assert parse_config(config_text(config)) == config


def test_a_field_that_triton_does_not_know_is_refused() -> None:
    with pytest.raises(BackendError, match="max_batch"):
        parse_config('name: "vit"\nmax_batch: 8\n')


def test_an_exported_model_runs_in_onnx_runtime_and_is_read_by_the_container(tmp_path: Path) -> None:
    import onnxruntime

    file = export_model(tiny(), tmp_path)
    assert file == tmp_path / "tiny" / "1" / "model.onnx"
    model = onnx.load(file)
    # ONNX Runtime 1.19 of the packaged server's time reads IR 10 and opset 21.
    assert model.ir_version <= 10
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # any batch
    tiles = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    got = onnxruntime.InferenceSession(str(file)).run(None, {"tiles": tiles})[0]
    np.testing.assert_allclose(got, answer(tiles), rtol=1e-5)
    config = parse_config((tmp_path / "tiny" / "config.pbtxt").read_text())
    assert config.parameters["model_digest"].string_value == model_digest(tiny())
    assert not list(tmp_path.glob(".export-*"))


def test_a_ready_made_file_keeps_its_operator_set_and_the_configuration_says_which(tmp_path: Path) -> None:
    export_model(tiny(), tmp_path / "one", opset=20)
    source = tmp_path / "one" / "tiny" / "1" / "model.onnx"
    export_model(replace(tiny(), weights=Weights(source=str(source), licence="mine")), tmp_path / "two")
    for repository in ("one", "two"):
        text = (tmp_path / repository / "tiny" / "config.pbtxt").read_text()
        assert parse_config(text).parameters["opset"].string_value == "20"


def test_an_export_that_is_cut_short_names_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_model(tiny(), tmp_path)
    config = tmp_path / "tiny" / "config.pbtxt"

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    def once(make: Any) -> Any:
        calls = []

        def config_or_end(*words: Any, **options: Any) -> Any:
            if calls:
                raise OSError("killed between model and configuration")
            calls.append(words)
            return make(*words, **options)

        return config_or_end

    with monkeypatch.context() as patch:
        patch.setattr("kras_plugins.models.repository.export_onnx", full)
        with pytest.raises(OSError, match="No space"):
            export_model(tiny(factor=3.0), tmp_path)
    assert parse_config(config.read_text()).parameters["model_digest"].string_value == model_digest(tiny())
    assert onnx_answer(tmp_path) == 2.0
    with monkeypatch.context() as patch:
        patch.setattr("kras_plugins.models.repository.model_config", once(model_config))
        with pytest.raises(OSError, match="killed"):
            export_model(tiny(factor=3.0), tmp_path)
    assert "model_digest" not in parse_config(config.read_text()).parameters
    assert onnx_answer(tmp_path) == 3.0
    export_model(tiny(factor=3.0), tmp_path)
    assert parse_config(config.read_text()).parameters["model_digest"].string_value == model_digest(tiny(factor=3.0))
    assert onnx_answer(tmp_path) == 3.0
    assert not list((tmp_path / "tiny").glob(".export-*"))


def onnx_answer(folder: Path) -> float:
    """What the exported model gives for ones."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "tiny" / "1" / "model.onnx"))
    return float(session.run(None, {"tiles": np.ones((1, 8, 8, 3), np.uint8)})[0][0, 0])


def test_engines_that_tensorrt_keeps_are_told_apart_by_weights() -> None:
    def cache(factor: float) -> str:
        config = model_config(tiny(factor=factor), digest=model_digest(tiny(factor=factor)))
        gpu, _ = config.optimization.execution_accelerators.gpu_execution_accelerator
        return gpu.parameters["trt_engine_cache_path"]

    assert cache(2.0) != cache(3.0)


def test_a_graph_that_tensorrt_refuses_is_no_repositorys(tmp_path: Path) -> None:
    def add_one(_: Path | None) -> Any:
        import torch

        class Wraps(torch.nn.Module):
            def forward(self, tiles: Any) -> Any:
                return (tiles + 1).float().mean(dim=(1, 2))  # 255 becomes 0

        return Wraps()

    with pytest.raises(BackendError, match=r"'tiny': uint8 input 'tiles' feeds Add.*TensorRT refuses"):
        export_model(replace(tiny(), build=add_one), tmp_path)
    assert not list(tmp_path.rglob("config.pbtxt"))


@pytest.mark.parametrize("point", [0, 128])
def test_int8_with_zero_points_is_no_repositorys(point: int, tmp_path: Path) -> None:
    """As ONNX Runtime quantizes by default, and kras did: TensorRT wants the range to be symmetric."""
    nodes = [
        onnx.helper.make_node("Cast", ["tiles"], ["f"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("QuantizeLinear", ["f", "scale", "point"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale", "point"], ["d"]),
        onnx.helper.make_node("ReduceMean", ["d", "axes"], ["features"], keepdims=0),
    ]
    weights = {"scale": np.float32(2), "point": np.uint8(point), "axes": np.array([1, 2])}
    graph = onnx.helper.make_graph(
        nodes,
        "int8",
        [onnx.helper.make_tensor_value_info("tiles", onnx.TensorProto.UINT8, ["n", 8, 8, 3])],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "int8.onnx")
    spec = replace(tiny(), weights=Weights(source=str(tmp_path / "int8.onnx"), licence="mine"))
    if point:
        with pytest.raises(BackendError, match="zero points are not 0.*kras model quantize"):
            export_model(spec, tmp_path / "models")
    else:
        export_model(spec, tmp_path / "models")
        config = parse_config((tmp_path / "models" / "tiny" / "config.pbtxt").read_text())
        assert config.parameters["precision"].string_value == "int8"


def test_a_halved_graph_is_called_so_by_its_configuration(tmp_path: Path) -> None:
    def stated(spec: ModelSpec) -> str:
        export_model(spec, tmp_path, precision="f16")
        return parse_config((tmp_path / spec.name / "config.pbtxt").read_text()).parameters["precision"].string_value

    assert stated(halvable()) == "f16"
    assert stated(tiny()) == "f32", "nothing in it is a product: what is said is what the graph is"


def test_missing_weights_leave_no_half_model(tmp_path: Path) -> None:
    absent = next((s for s in bundled_specs() if not is_present(s.weights)), None)
    if absent is None:
        pytest.skip("all weights are on this machine")
    with pytest.raises(BackendError, match="weights"):
        export_model(absent, tmp_path)
    assert not list(tmp_path.rglob("*.pbtxt"))
