"""A graph's arithmetic is read from the graph: what is lowered to float16, what stays, and what that costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from triton_server import SIDE, halvable, tiny

from kras_plugins import Weights
from kras_plugins.errors import BackendError
from kras_plugins.models.export import export_onnx
from kras_plugins.models.precision import graph_precision, has_offsets, to_f16


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("precision")
    for precision in ("f32", "f16"):
        export_onnx(halvable(), folder / f"{precision}.onnx", precision=precision)
    return {name: folder / f"{name}.onnx" for name in ("f32", "f16")}


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)} | {
        t.name: t.data_type for t in model.graph.initializer
    }


def test_products_compute_in_f16_and_pixels_norms_and_outputs_in_f32(files: dict[str, Path]) -> None:
    model = onnx.load(files["f16"])
    kinds = types(model)
    expected = {
        "Conv": TensorProto.FLOAT16, "MatMul": TensorProto.FLOAT16, "Gemm": TensorProto.FLOAT16,
        "LayerNormalization": TensorProto.FLOAT, "Softmax": TensorProto.FLOAT, "Sub": TensorProto.FLOAT,
    }  # fmt: skip
    seen = Counter()
    for node in model.graph.node:
        if node.op_type in expected:
            assert {kinds[t] for t in (*node.input, *node.output)} <= {expected[node.op_type]}, node.op_type
            seen[node.op_type] += 1
    assert seen["Conv"] == 1
    assert seen["MatMul"] + seen["Gemm"] == 1
    assert seen["LayerNormalization"] == seen["Softmax"] == 1
    assert seen["Sub"] >= 1
    assert kinds["features"] == TensorProto.FLOAT
    assert (graph_precision(onnx.load(files["f32"])), graph_precision(model)) == ("f32", "f16")


def test_each_tensor_is_cast_once_and_no_cast_undoes_another(files: dict[str, Path]) -> None:
    model = onnx.load(files["f16"])
    casts = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Cast"}
    assert not set(casts) & set(casts.values())
    assert len(set(casts.values())) == len(casts)


def test_the_weights_are_those_of_f32_rounded_once(files: dict[str, Path]) -> None:
    whole = {t.name: numpy_helper.to_array(t) for t in onnx.load(files["f32"]).graph.initializer}
    half = {t.name: numpy_helper.to_array(t) for t in onnx.load(files["f16"]).graph.initializer}
    lowered = {n: v for n, v in half.items() if v.dtype == np.float16}
    assert len(lowered) >= 3
    for name, values in lowered.items():
        np.testing.assert_array_equal(values, whole[name.removesuffix("_f16")].astype(np.float16))


def test_results_are_within_float16s_rounding_and_not_equal(files: dict[str, Path]) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    a, b = (
        onnxruntime.InferenceSession(str(files[name]), providers=["CPUExecutionProvider"]).run(None, {"tiles": tiles})[
            0
        ]
        for name in ("f32", "f16")
    )
    error = np.abs(a - b).max() / np.abs(a).max()
    assert 0 < error < 8 * 2.0**-11
    assert b.dtype == np.float32


def graph(*nodes: Any, weights: Any = ()) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", 8, 8, 3])
    result = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 8, 8, 3])
    made = helper.make_graph(list(nodes), "made", [given], [result], list(weights))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


CAST = helper.make_node("Cast", ["tiles"], ["f"], to=TensorProto.FLOAT)
EYE = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")


def test_a_number_beyond_float16_stays_finite() -> None:
    large = numpy_helper.from_array(np.full((3, 3), 1e6, np.float32), "w")
    model = graph(CAST, helper.make_node("MatMul", ["f", "w"], ["features"]), weights=[large])
    to_f16(model)
    (weight,) = model.graph.initializer
    assert np.isfinite(numpy_helper.to_array(weight)).all()


def test_an_export_that_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    large = numpy_helper.from_array(np.full((3, 3), 1e3, np.float32), "w")
    model = graph(CAST, helper.make_node("MatMul", ["f", "w"], ["features"]), weights=[large])
    onnx.save(model, tmp_path / "mine.onnx")
    mine = replace(
        tiny(),
        outputs=(replace(tiny().outputs[0], shape=(8, 8, 3)),),
        weights=Weights(source=str(tmp_path / "mine.onnx"), licence="mine"),
    )
    with pytest.raises(
        BackendError, match=r"1 of \d tensors leave float16's range, first 'features_f16'.*precision f32"
    ):
        export_onnx(mine, tmp_path / "model.onnx", precision="f16")
    export_onnx(mine, tmp_path / "model.onnx")


def test_an_operator_that_onnx_defines_for_f32_alone_stays_there() -> None:
    """`Resize` takes its scales in float32 whatever its image is; unknown operators take nothing else."""
    scales = numpy_helper.from_array(np.ones(4, np.float32), "s")
    model = graph(
        CAST,
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Resize", ["m", "", "s"], ["r"], mode="nearest"),
        helper.make_node("MatMul", ["r", "w"], ["features"]),
        weights=[EYE, scales],
    )
    to_f16(model)
    onnx.checker.check_model(model, full_check=True)
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert kinds == {"w_f16": TensorProto.FLOAT16, "s": TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("nodes", "weights", "found"),
    [
        ([CAST, helper.make_node("Relu", ["f"], ["features"])], [], "f32"),
        ([CAST, helper.make_node("Cast", ["f"], ["b"], to=TensorProto.BFLOAT16),
          helper.make_node("Cast", ["b"], ["features"], to=TensorProto.FLOAT)], [], "bf16"),
        ([CAST, helper.make_node("QuantizeLinear", ["f", "one", "zero"], ["q"]),
          helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["features"])],
         [numpy_helper.from_array(np.float32(1), "one"), numpy_helper.from_array(np.int8(0), "zero")], "int8"),
    ],
)  # fmt: skip
def test_the_coarsest_arithmetic_names_the_graph(nodes: list[Any], weights: list[Any], found: str) -> None:
    model = graph(*nodes, weights=weights)
    assert graph_precision(model) == found
    if found != "f32":
        with pytest.raises(BackendError, match=f"computes in {found} already"):
            to_f16(model)


@pytest.mark.parametrize("point", [0, 7])
def test_zero_points_are_found(point: int) -> None:
    model = graph(
        CAST,
        helper.make_node("QuantizeLinear", ["f", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["features"]),
        weights=[numpy_helper.from_array(np.float32(1), "one"), numpy_helper.from_array(np.int8(point), "zero")],
    )
    assert has_offsets(model) == bool(point)
