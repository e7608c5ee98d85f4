"""One verified ONNX file per model: made from PyTorch, or ready-made and compared with what its plug-in states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from triton_server import answer, tiny

from kras_extractor_vit.network import spec_of
from kras_extractor_vit.presets import PRESETS
from kras_plugins import TensorSpec, Weights
from kras_plugins.errors import BackendError, KrasError, PluginError
from kras_plugins.models.export import error, export_onnx

SMALL = {"depth": 1, "embed_dim": 48, "num_heads": 2, "img_size": 32}


def brought(
    path: Path, *, batch: object = "n", output: str = "features", kind: int = TensorProto.UINT8, side: int = 8
) -> Path:
    """An ONNX file made elsewhere: twice the mean of each color."""
    nodes = [
        helper.make_node("Cast", ["tiles"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["m", "m"], [output]),
    ]
    given = helper.make_tensor_value_info("tiles", kind, [batch, side, side, 3])
    made = helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph(nodes, "means", [given], [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def spec_for(path: Path, **changes: Any) -> Any:
    def never(_path: Path | None) -> Any:
        raise AssertionError("a ready-made file needs no PyTorch")

    return replace(tiny(), weights=Weights(source=str(path), licence="mine"), build=never, **changes)


@pytest.mark.parametrize("ready_made", [False, True])
def test_the_exported_file_takes_any_batch_and_gives_the_models_answers(tmp_path: Path, ready_made: bool) -> None:
    spec = spec_for(brought(tmp_path / "mine.onnx")) if ready_made else tiny()
    export_onnx(spec, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for n in (1, 5):
        tiles = np.random.default_rng(n).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        np.testing.assert_allclose(session.run(None, {"tiles": tiles})[0], answer(tiles), rtol=1e-5)


def test_a_folder_with_one_onnx_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    brought(tmp_path / "folder" / "mine.onnx")
    export_onnx(spec_for(tmp_path / "folder"), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"batch": 1}, "dynamic batch"),
        ({"output": "tokens"}, "outputs are tokens; expected are features"),
        ({"kind": TensorProto.FLOAT}, "expected is uint8"),
        ({"side": 16}, r"float32|uint8\['n', 16, 16, 3\]"),
    ],
)
def test_a_file_whose_tensors_are_others_is_refused_with_both(tmp_path: Path, made: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        export_onnx(spec_for(brought(tmp_path / "mine.onnx", **made)), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_file_that_is_no_onnx_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"nothing")
    with pytest.raises(BackendError, match="mine.onnx: not a usable ONNX file"):
        export_onnx(spec_for(tmp_path / "mine.onnx"), tmp_path / "model.onnx")


def test_a_spec_that_states_a_wrong_output_is_refused(tmp_path: Path) -> None:
    wrong = replace(tiny(), outputs=(TensorSpec(name="features", dtype="float32", shape=(4,)),))
    with pytest.raises(KrasError, match="its spec says"):
        export_onnx(wrong, tmp_path / "model.onnx")


class Rounded(torch.nn.Module):
    """Means of colors as uint8; the exported graph is off by this many levels."""

    def __init__(self, off: int) -> None:
        super().__init__()
        self.off = off

    def forward(self, tiles: Any) -> Any:
        exported = self.off if torch.compiler.is_exporting() else 0
        return torch.floor(tiles.float().mean(dim=(1, 2)) + 0.5 - exported).to(torch.uint8)


@pytest.mark.parametrize(("off", "said"), [(0, ""), (1, ""), (2, "ONNX and PyTorch differ by 0.0078")])
def test_what_is_rounded_inside_the_graph_may_be_one_level_off(tmp_path: Path, off: int, said: str) -> None:
    output = TensorSpec(name="features", dtype="uint8", shape=(3,))
    spec = replace(tiny(), outputs=(output,), build=lambda _: Rounded(off))
    if said:
        with pytest.raises(BackendError, match=said):
            export_onnx(spec, tmp_path / "model.onnx")
        return
    export_onnx(spec, tmp_path / "model.onnx")
    (made,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_outputs()
    assert made.type == "tensor(uint8)"


def test_an_output_of_another_dtype_than_its_spec_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KrasError, match=r"uint8\[3\], its spec says float32\[3\]"):
        export_onnx(replace(tiny(), build=lambda _: Rounded(0)), tmp_path / "model.onnx")


def test_levels_are_held_against_all_of_them_and_other_numbers_against_the_largest() -> None:
    assert error(np.uint8([10, 21]), np.uint8([10, 20])) == 1 / 255
    assert error(np.uint8([0]), np.uint8([255])) == 1  # uint8 would wrap
    assert error(np.float32([1, 4.5]), np.float32([1, 5])) == 0.1
    assert np.isnan(error(np.float32([np.nan]), np.float32([1])))


@pytest.mark.parametrize("opset", [3, 99])
def test_an_operator_set_that_cannot_be_had_is_told(tmp_path: Path, opset: int) -> None:
    """The exporter itself logs that and gives another one."""
    small = spec_of(replace(PRESETS["vit-mini"], source="random:0", dim=48, px=32, arguments=SMALL))
    with pytest.raises(BackendError, match=f"operator set {opset}|rejects the export"):
        export_onnx(small, tmp_path / "model.onnx", opset=opset)


def test_a_network_that_cannot_be_exported_is_told_with_the_cause(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            return self.nothing_of_the_kind(tiles)  # type: ignore[operator,return-value]

    with pytest.raises(BackendError, match=r"'tiny' cannot be exported.*nothing_of_the_kind"):
        export_onnx(replace(tiny(), build=lambda _path: Odd()), tmp_path / "model.onnx")
