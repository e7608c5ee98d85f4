"""int8: the file has int8 products, takes uint8 tiles like any other, and stays near float32 by a measured cosine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from triton_server import tiny
from typer.testing import CliRunner

from kras_extractor_vit.network import spec_of
from kras_extractor_vit.presets import PRESETS
from kras_plugins import Weights
from kras_plugins.cli.app import app
from kras_plugins.models.export import build_module, export_onnx
from kras_plugins.models.precision import has_offsets
from kras_plugins.models.quantize import agreement, quantize


def test_an_int8_file_is_near_float32_and_taken_as_a_ready_made_model(tmp_path: Path) -> None:
    small = {"depth": 2, "embed_dim": 48, "num_heads": 2, "img_size": 64}
    spec = spec_of(replace(PRESETS["kaiko-s16"], source="random:0", dim=48, px=64, arguments=small))
    rng = np.random.default_rng(0)
    tiles = (255 * rng.random((40, 1, 1, 3)) * np.ones((40, 64, 64, 3)) * rng.random((40, 64, 64, 1))).astype(np.uint8)
    file = tmp_path / "int8.onnx"
    quantize(spec, tiles[:24], file)
    kinds = Counter(node.op_type for node in onnx.load(file).graph.node)
    assert kinds["QuantizeLinear"] >= 8, "two blocks have four products with weights each"
    assert not has_offsets(onnx.load(file)), "TensorRT refuses other zero points than 0"
    with torch.inference_mode():
        exact = build_module(spec)(torch.from_numpy(tiles[24:])).numpy()
    export_onnx(replace(spec, weights=Weights(source=str(file), licence="x")), tmp_path / "adopted.onnx")
    got = onnxruntime.InferenceSession(str(tmp_path / "adopted.onnx")).run(None, {"tiles": tiles[24:]})[0]
    near = agreement(exact.astype(np.float64), got.astype(np.float64))
    assert near.tiles == 16
    assert 0.99 < near.cosine <= near.mean_cosine < 0.9999999
    assert near.centered_cosine < near.cosine


def test_agreement_is_the_cosine_with_and_without_what_all_tiles_share() -> None:
    exact = np.array([[10.0, 1.0], [10.0, -1.0]])
    other = np.array([[10.0, 1.0], [10.0, 1.0]])
    near = agreement(exact, other)
    assert near.cosine == pytest.approx(99 / 101)
    assert near.mean_cosine == pytest.approx((1 + 99 / 101) / 2)
    assert near.centered_cosine == pytest.approx(-1)


def test_a_quantization_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_ready: str, out: str, *_: object, **__: object) -> None:
        Path(out).write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", killed)
    file = tmp_path / "int8.onnx"
    file.write_bytes(b"the one before")
    with pytest.raises(KeyboardInterrupt):
        quantize(tiny(), np.zeros((16, 8, 8, 3), np.uint8), file)
    assert file.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "q.onnx", "--model", "cells"), "not an encoder"),
        (
            ("--out", "q.onnx", "-o", "extractor.vit.model=vit-mini", "-o", "extractor.vit.weights=made.onnx"),
            "already an ONNX file",
        ),
        (("--out", "file/q.onnx", "-o", "extractor.vit.model=vit-mini"), "cannot make the folder"),
    ],
)
def test_what_cannot_be_quantized_is_told_before_a_slide_is_opened(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["model", "quantize", "absent.svs", *words])
    assert done.exit_code == 1
    assert said in done.stderr
