"""A uint8 input feeds one Cast and nothing else: TensorRT takes no other graph, and no result changes for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from triton_server import tiny

from kras_extractor_vit.network import spec_of
from kras_extractor_vit.presets import PRESETS
from kras_plugins import ModelSpec, Weights
from kras_plugins.models.export import export_onnx
from kras_plugins.models.precision import graph_precision, to_f16
from kras_plugins.models.uint8_input import broken_rule, obey
from kras_profiler_cells import CellsOptions, models

CELLS = models(CellsOptions())[0]
VIT = spec_of(
    replace(
        PRESETS["vit-mini"],
        source="random:0",
        dim=48,
        px=32,
        arguments={"depth": 1, "embed_dim": 48, "num_heads": 2, "img_size": 32},
    )
)


def readers(model: onnx.ModelProto) -> list[tuple[str, int]]:
    """What reads the uint8 input, and what it casts to: written apart from the product's own reading."""
    (given,) = [i.name for i in model.graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8]
    return [
        (n.op_type, next((a.i for a in n.attribute if a.name == "to"), 0)) for n in model.graph.node if given in n.input
    ]


def made(*nodes: Any, out: int = TensorProto.FLOAT, shape: Sequence[Any] = ("n", 3)) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", 8, 8, 3])
    result = helper.make_tensor_value_info("features", out, list(shape))
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    graph = helper.make_graph(list(nodes), "made", [given], [result], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, n: int = 3) -> Any:
    tiles = np.random.default_rng(n).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"tiles": tiles})[0]


MEAN = helper.make_node("ReduceMean", ["f", "axes"], ["features"], keepdims=0)
FLOAT = TensorProto.FLOAT


def cast(a: str, b: str, to: int = FLOAT) -> Any:
    return helper.make_node("Cast", [a], [b], to=to)


@pytest.mark.parametrize("spec", [VIT, CELLS], ids=lambda s: s.name)
def test_what_kras_exports_keeps_the_rule(spec: ModelSpec, tmp_path: Path) -> None:
    export_onnx(spec, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    for _ in ("f32", "f16"):
        onnx.checker.check_model(model, full_check=True)  # types of all tensors, and the order of the nodes
        assert readers(model) == [("Cast", FLOAT)]
        assert broken_rule(model) == ""
        if graph_precision(model) == "f32":
            to_f16(model)
    assert graph_precision(model) == "f16"


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Transpose", ["tiles"], ["t"], perm=[0, 1, 2, 3]), cast("t", "f"), MEAN],
        [helper.make_node("Identity", ["tiles"], ["i"]), helper.make_node("Identity", ["i"], ["j"]),
         cast("j", "f"), MEAN],
        [cast("tiles", "f"), cast("tiles", "unused", TensorProto.INT32), MEAN],
        [cast("tiles", "i", TensorProto.INT32), cast("i", "f"), MEAN],
        [cast("tiles", "d", TensorProto.DOUBLE), cast("d", "f"), MEAN],
    ],
)  # fmt: skip
def test_a_file_that_breaks_the_rule_is_rewritten_with_equal_results(nodes: list[Any]) -> None:
    model = made(*nodes)
    before = run(model)
    assert broken_rule(model)
    obey(model)
    onnx.checker.check_model(model, full_check=True)
    assert readers(model) == [("Cast", FLOAT)]
    assert broken_rule(model) == ""
    np.testing.assert_array_equal(run(model), before)


def test_one_that_keeps_the_rule_is_left_as_it_is() -> None:
    model = made(cast("tiles", "f"), MEAN)
    before = model.SerializeToString(deterministic=True)
    obey(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("nodes", "feeds"),
    [
        ([helper.make_node("Add", ["tiles", "tiles"], ["s"]), cast("s", "f"), MEAN], "Add"),
        (
            [helper.make_node("Transpose", ["tiles"], ["t"], perm=[0, 1, 2, 3]),
             helper.make_node("Mul", ["t", "t"], ["s"]), cast("s", "f"), MEAN],
            "Transpose",
        ),
    ],
)  # fmt: skip
def test_arithmetic_in_uint8_is_kept_and_named(nodes: list[Any], feeds: str) -> None:
    """It wraps at 256, which float32 does not: to cast first would change results."""
    model = made(*nodes)
    before = model.SerializeToString(deterministic=True)
    obey(model)
    assert model.SerializeToString(deterministic=True) == before
    assert f"'tiles' feeds {feeds}" in broken_rule(model)


def test_pixels_that_are_an_output_or_a_branchs_are_named() -> None:
    whole = made(helper.make_node("Identity", ["tiles"], ["features"]), out=TensorProto.UINT8, shape=["n", 8, 8, 3])
    obey(whole)
    assert "feeds Identity" in broken_rule(whole)
    branch = helper.make_graph(
        [cast("tiles", "f"), helper.make_node("ReduceMean", ["f", "axes"], ["b"], keepdims=0)],
        "branch",
        [],
        [helper.make_tensor_value_info("b", FLOAT, ["n", 3])],
    )
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True]))
    model = made(yes, helper.make_node("If", ["yes"], ["features"], then_branch=branch, else_branch=branch))
    obey(model)
    assert "feeds If" in broken_rule(model)


def test_a_ready_made_file_is_rewritten_when_it_is_adopted(tmp_path: Path) -> None:
    model = made(helper.make_node("Transpose", ["tiles"], ["t"], perm=[0, 1, 2, 3]), cast("t", "f"), MEAN)
    onnx.save(model, tmp_path / "mine.onnx")
    spec = replace(tiny(), weights=Weights(source=str(tmp_path / "mine.onnx"), licence="mine"))
    export_onnx(spec, tmp_path / "model.onnx")
    adopted = onnx.load(tmp_path / "model.onnx")
    assert readers(adopted) == [("Cast", FLOAT)]
    np.testing.assert_array_equal(run(adopted), run(model))


def test_a_ready_made_file_beyond_the_rule_still_serves_a_cpu(tmp_path: Path) -> None:
    model = made(helper.make_node("Add", ["tiles", "tiles"], ["s"]), cast("s", "f"), MEAN)
    onnx.save(model, tmp_path / "mine.onnx")
    spec = replace(tiny(), weights=Weights(source=str(tmp_path / "mine.onnx"), licence="mine"))
    export_onnx(spec, tmp_path / "model.onnx")
    np.testing.assert_array_equal(run(onnx.load(tmp_path / "model.onnx")), run(model))
