"""How far features move when the section is turned, stained, saved, focused or scanned differently."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from kras_plugins.pretraining.stain import restain

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8

Embed = Callable[["Sequence[UInt8]"], "Float32"]


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """Cosines of tiles before and after one change. `cosine`: mean, `least`: 5th percentile; `centered`: mean after
    subtracting the mean of the unchanged tiles' features, which exposes encoders that give all tiles nearly one vector.
    `itself`: share of changed tiles whose nearest unchanged tile is their own."""

    cosine: float
    least: float
    centered: float
    itself: float


def changes() -> Mapping[str, Callable[[UInt8], UInt8]]:
    """What is done to a tile uint8[h w 3], by name."""
    return {
        "turned by 90°": lambda x: np.ascontiguousarray(np.rot90(x)),
        "mirrored": lambda x: np.ascontiguousarray(x[:, ::-1]),
        "stain: hematoxylin x 1.4, eosin x 0.7": lambda x: _stained(x, (1.4, 0.7, 1.0)),
        "stain: hematoxylin x 0.7, eosin x 1.4": lambda x: _stained(x, (0.7, 1.4, 1.0)),
        "JPEG quality 40": _jpeg,
        "blur of 1 px": lambda x: np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(1))),
        "half the resolution": _coarse,
    }


def steadiness(embed: Embed, tiles: Sequence[UInt8]) -> dict[str, Steadiness]:
    """For each change: how similar the features of changed tiles are to those of the original tiles."""
    before = embed(tiles).astype(np.float64)
    found = {}
    for name, change in changes().items():
        after = embed([change(x) for x in tiles]).astype(np.float64)
        cosine = np.sum(_unit(before) * _unit(after), axis=1)
        a, b = _unit(before - before.mean(axis=0)), _unit(after - before.mean(axis=0))
        nearest = (b @ a.T).argmax(axis=1)
        found[name] = Steadiness(
            cosine=float(cosine.mean()),
            least=float(np.percentile(cosine, 5)),
            centered=float(np.sum(a * b, axis=1).mean()),
            itself=float(np.mean(nearest == np.arange(len(a)))),
        )
    return found


def _unit(x: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
    unit: np.typing.NDArray[np.float64] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit


def _stained(x: UInt8, amounts: tuple[float, float, float]) -> UInt8:
    light: Float32 = x.astype(np.float32) / np.float32(255)
    return (restain(light, amounts) * 255).round().astype(np.uint8)


def _jpeg(x: UInt8) -> UInt8:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file).convert("RGB"))


def _coarse(x: UInt8) -> UInt8:
    image = Image.fromarray(x)
    half = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
    return np.asarray(half.resize(image.size, Image.Resampling.BICUBIC))
