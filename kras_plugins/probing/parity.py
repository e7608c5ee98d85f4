"""How far a backend's results are from PyTorch's and from `local`'s, on the same tiles, and how far they may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.backend import Backend, BackendPlugin
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.data import SlideRef, TileSpec
from kras_plugins.errors import SlideError, plugin_boundary
from kras_plugins.host.config import Config
from kras_plugins.host.manager import Registry
from kras_plugins.host.parts import usable_readers
from kras_plugins.models.export import build_module, error, is_ready_made, rounding
from kras_plugins.models.weights import locate
from kras_plugins.slides.fields import tissue_of
from kras_plugins.slides.slide import open_slide
from kras_plugins.slides.tiles import tile_grid

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64, UInt8

LIMITS = {
    "f32": (0.99999, 2e-3),
    "tf32": (0.9995, 5e-2),
    "f16": (0.9995, 5e-2),
    "bf16": (0.999, 0.2),
    "int8": (0.99, 0.5),
}
"""By the coarser arithmetic of the two: least cosine of any tile's output, and largest difference of any number
relative to the largest number (of 330,000 in a map of the cell network). See docs/decisions/0007."""

_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One comparison: `cosine` is the least over tiles, `error` the largest difference over the largest value."""

    model: str
    plugin: str
    output: str
    against: str
    tiles: int
    cosine: float
    error: float
    cosine_limit: float
    error_limit: float

    @property
    def passed(self) -> bool:
        """Whether both are within their limits."""
        return self.cosine >= self.cosine_limit and self.error <= self.error_limit


def compare(
    spec: ModelSpec, pixels: UInt8, backend: str, registry: Registry, config: Config, plugin: str
) -> list[Parity]:
    """Compare a backend with PyTorch in float32 and, where it is another, with `local` as configured."""
    got, precision = _run(spec, pixels, backend, registry, config)
    exact = f"{'ONNX Runtime' if is_ready_made(spec) else 'PyTorch'} f32 ({backend} {precision})"
    rows = _rows(spec, plugin, len(pixels), exact, precision, got, _exact(spec, pixels))
    if backend != "local":
        other, used = _run(spec, pixels, "local", registry, config)
        coarser = max(precision, used, key=lambda p: LIMITS[p][1])
        rows += _rows(spec, plugin, len(pixels), f"local {used} ({backend} {precision})", coarser, got, other)
    return rows


def slide_tiles(spec: ModelSpec, file: Path, count: int, registry: Registry, config: Config) -> UInt8:
    """At most `count` tissue tiles of a slide, evenly spread, at the model's resolution: uint8[tile h w 3].

    Raises SlideError when the slide cannot be read or contains no tile of tissue.
    """
    side = spec.inputs[0].shape[0]
    ref = SlideRef(patient_id=file.stem, slide_id=file.stem, path=file)
    with open_slide(ref, usable_readers(registry, config)) as slide:
        tile = TileSpec(px=side, mpp=float(spec.transform.get("mpp", 0.5)))
        grid = tile_grid(slide, tissue_of(slide), tile)
        if not len(grid):
            raise SlideError(f"{file}: no tile of {side} px is half tissue", "give a larger slide")
        chosen = np.unique(np.linspace(0, len(grid) - 1, count).round().astype(int))
        return np.stack([slide.read((float(x), float(y)), (side, side), grid.spec.mpp) for x, y in grid.xy[chosen]])


def _exact(spec: ModelSpec, pixels: UInt8) -> dict[str, npt.NDArray[Any]]:
    """PyTorch's results in float32; ONNX Runtime's for a model that was made elsewhere as ONNX."""
    found: dict[str, list[npt.NDArray[Any]]] = {t.name: [] for t in spec.outputs}
    if is_ready_made(spec):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(locate(spec.weights)), providers=["CPUExecutionProvider"])
        for first in range(0, len(pixels), _AT_ONCE):
            got = session.run(list(found), {spec.inputs[0].name: pixels[first : first + _AT_ONCE]})
            for name, value in zip(found, got, strict=True):
                found[name].append(value)
        return {name: np.concatenate(parts) for name, parts in found.items()}
    import torch

    module = build_module(spec)
    with torch.inference_mode():
        for first in range(0, len(pixels), _AT_ONCE):
            out = module(torch.from_numpy(pixels[first : first + _AT_ONCE]))
            for tensor, value in zip(spec.outputs, (out,) if isinstance(out, torch.Tensor) else out, strict=True):
                found[tensor.name].append(value.numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _run(
    spec: ModelSpec, pixels: UInt8, backend: str, registry: Registry, config: Config
) -> tuple[dict[str, npt.NDArray[Any]], str]:
    record = registry.record("backend", backend, BackendPlugin)
    with plugin_boundary(registry.find("backend", backend).id):
        engine: Backend = record.create(config.options_for("backend", record))
        try:
            infer = engine.load(spec)
            name = spec.inputs[0].name
            parts = [infer({name: pixels[i : i + infer.batch]}) for i in range(0, len(pixels), infer.batch)]
            return {t.name: np.concatenate([p[t.name] for p in parts]) for t in spec.outputs}, engine.precision
        finally:
            engine.close()


def _rows(
    spec: ModelSpec,
    plugin: str,
    n: int,
    against: str,
    precision: str,
    got: dict[str, npt.NDArray[Any]],
    wanted: dict[str, npt.NDArray[Any]],
) -> list[Parity]:
    cosine_limit, error_limit = LIMITS[precision]
    rows = []
    for tensor in spec.outputs:
        both = got[tensor.name], wanted[tensor.name]
        rows.append(
            Parity(
                model=spec.name,
                plugin=plugin,
                output=tensor.name,
                against=against,
                tiles=n,
                cosine=float(cosines(*both).min()),
                error=error(*both),
                cosine_limit=cosine_limit,
                error_limit=error_limit + rounding(tensor),
            )
        )
    return rows


def cosines(got: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Float64:
    """The cosine of each tile's output with the wanted one, float64[tile].

    It is 1 for two outputs of zeros, and for two outputs in bytes that nowhere differ by more than rounding: a map that
    is almost empty has no direction.
    """
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (got, wanted))
    level = 1.0 if wanted.dtype == np.uint8 else 0.0
    alike = np.abs(a - b).max(axis=1) <= level
    alike &= (level > 0) | ~b.any(axis=1)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(alike, 1.0, (a * b).sum(axis=1) / np.maximum(norms, 1e-12))
