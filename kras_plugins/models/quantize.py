"""A network with int8 products: faster on CPUs, with similar but not equal results. Other tiles measure how similar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import BackendError
from kras_plugins.files.leftovers import scratch
from kras_plugins.models.export import export_onnx, silenced

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """int8 against float32 over tiles: least and mean cosine, and the least without the mean vector of all tiles.

    The last one measures what distinguishes tiles, because features share a large common part.
    """

    tiles: int
    cosine: float
    mean_cosine: float
    centered_cosine: float


def quantize(spec: ModelSpec, calibration: UInt8, out: Path) -> None:
    """Write the model as ONNX whose products with weights are int8 (weights per channel, activations by calibration).

    `calibration`: uint8[tile h w 3], tiles like those it will see; a few dozen. Static, by ONNX Runtime, as QDQ nodes
    that OpenVINO and TensorRT read too; all zero points are 0, as TensorRT requires. The file appears when complete.
    Raises BackendError where the model cannot be quantized.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

    given = spec.inputs[0].name
    part = out.with_name(f".{out.name}.part")
    with scratch("int8") as work:
        exact, ready = work / "f32.onnx", work / "ready.onnx"
        export_onnx(spec, exact)
        try:
            with silenced(""):  # on the root logger it advises what is done here anyway
                quant_pre_process(str(exact), str(ready), skip_symbolic_shape=True)
                quantize_static(
                    str(ready),
                    str(part),
                    _reader(given, calibration),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["MatMul", "Gemm"],
                    per_channel=True,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": True, "WeightSymmetric": True},
                )
            part.replace(out)
        except (RuntimeError, ValueError) as e:
            raise BackendError(f"model {spec.name!r} cannot be made int8: {e}", "use bf16 or f32") from e
        finally:
            part.unlink(missing_ok=True)


def agreement(exact: Float64, other: Float64) -> Agreement:
    """How similar two float64[tile feature] are."""
    near = _cosine(exact, other)
    middle = exact.mean(axis=0)
    return Agreement(
        tiles=len(exact),
        cosine=float(near.min()),
        mean_cosine=float(near.mean()),
        centered_cosine=float(_cosine(exact - middle, other - middle).min()),
    )


def _cosine(a: Float64, b: Float64) -> Float64:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: Float64 = (a * b).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines


def _reader(name: str, tiles: UInt8) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Tiles(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(tiles[:, None])

        def get_next(self) -> dict[str, Any] | None:
            tile = next(self._left, None)
            return None if tile is None else {name: tile}

    return Tiles()
