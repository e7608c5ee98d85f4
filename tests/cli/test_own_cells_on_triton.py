"""Somebody else's network of the HoVer convention, as an ONNX file: served by Triton it finds the same cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from cohorts import kras
from triton_server import ensure_installed, own_ports

from kras_plugins.serving.server import serving
from kras_plugins.testing import draw_slide

SIDE, REACH = 320, 8
NAMES = ("background", "neoplastic", "inflammatory")


def write(file: Path) -> None:
    """The network as its publisher would give it away: one file, its class names in the metadata.

    Dark pixels are nuclei, the darkest lymphocytes; a pixel's place in its nucleus follows from the pixels around it.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    around = np.broadcast_to(np.arange(-REACH, REACH + 1.0), (2 * REACH + 1, 2 * REACH + 1))
    constants = {
        "red": np.array([[[[1 / 8]], [[0]], [[0]]]], np.float32),
        "pale": np.array([175 / 8], np.float32),
        "dark": np.array([100 / 8], np.float32),
        "one": np.array([1], np.float32),
        "offsets": np.stack([-around, -around.T])[:, None].astype(np.float32) / REACH,
        "ones": np.ones((1, 1, *around.shape), np.float32),
    }
    pads = {"pads": [REACH] * 4}
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Cast", ["tiles"], "float", {"to": TensorProto.FLOAT}),
        ("Transpose", ["float"], "channels", {"perm": [0, 3, 1, 2]}),
        ("Conv", ["channels", "red"], "level", {}),
        ("Sub", ["pale", "level"], "below_pale", {}),
        ("Sigmoid", ["below_pale"], "nucleus", {}),
        ("Sub", ["dark", "level"], "below_dark", {}),
        ("Sigmoid", ["below_dark"], "darkest", {}),
        ("Sub", ["one", "nucleus"], "background", {}),
        ("Mul", ["nucleus", "darkest"], "inflammatory", {}),
        ("Sub", ["nucleus", "inflammatory"], "neoplastic", {}),
        ("Concat", list(NAMES), "classes", {"axis": 1}),
        ("Conv", ["nucleus", "offsets"], "moments", pads),
        ("Conv", ["nucleus", "ones"], "mass", pads),
        ("Add", ["mass", "one"], "some", {}),
        ("Div", ["moments", "some"], "middle", {}),
        ("Mul", ["middle", "nucleus"], "hv", {}),
    ]
    maps = {"hv": 2, "classes": len(NAMES)}
    graph = helper.make_graph(
        [helper.make_node(kind, given, [made], **more) for kind, given, made, more in steps],
        "hover",
        [helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["n", c, SIDE, SIDE]) for o, c in maps.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"class_names": ", ".join(NAMES)})
    save(model, file)


def cells_of(out: Path) -> Mapping[str, Any]:
    (file,) = out.rglob("cells.parquet")
    table = pq.read_table(file)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in ("x_px", "y_px", "class", "area_um2")}


def test_an_onnx_file_of_hover_maps_is_exported_and_served_and_finds_the_cells_of_backend_local(tmp_path: Path) -> None:
    draw_slide(tmp_path / "a.tiff", seed=0, size_um=(640.0, 640.0))
    write(tmp_path / "theirs.onnx")
    (tmp_path / "kras.toml").write_text(
        '[profiler.cells]\nmodel = "theirs.onnx"\nhalo_px = 32\n'
        'class_names = { neoplastic = "tumor", inflammatory = "lymphocyte" }\n'
    )
    ensure_installed()
    done = kras("model", "export", "cells", "--repository", "models", cwd=tmp_path, store=tmp_path / "exports")
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "models", ports=own_ports(), precision="f32") as server:
        served = ("--backend", "triton", "-o", f"backend.triton.url={server.url}")
        for name, where in (("served", served), ("local", ("-o", "backend.local.precision=f32"))):
            done = kras("profile", "a.tiff", "--out", name, *where, cwd=tmp_path, store=tmp_path / f"{name}-store")
            assert done.returncode == 0, done.stderr
    found, expected = cells_of(tmp_path / "served"), cells_of(tmp_path / "local")
    np.testing.assert_array_equal(found["class"], expected["class"])
    for column in ("x_px", "y_px", "area_um2"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-3, atol=0.1)
    words, n = np.unique(expected["class"], return_counts=True)
    assert dict(zip(words, n, strict=True)).keys() >= {"tumor", "lymphocyte"} and n.min() > 50
