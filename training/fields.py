"""One labeled H&E image, and what is done with it whatever set it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kras_profiler_cells import WORDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, Int32, UInt8

CLASSES = WORDS
"""The classes that the model distinguishes; a cell it is unsure of becomes `other` when decoded."""
UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class Field:
    """One labeled image.

    `pixels`: uint8[h w 3] of `mpp` µm; `labels`: int32[h w], 0 outside nuclei; `classes`: int8[label + 1], an index
    into CLASSES or UNKNOWN, for each label. Images are sampled and left out by `kind`; `source` names the image it was
    cut from. `scored`: (left, top, right, bottom) in pixels: nuclei centered outside are context and are not scored.
    `weight` uint8[h w]: how far a pixel's label is trusted, in 255ths; None: fully. `dots`: (x, y) of each label's
    nucleus, float64[label 2], if dots were set by hand and outlines were made from them (`outlines`).
    """

    name: str
    kind: str
    source: str
    pixels: UInt8
    labels: Int32
    classes: npt.NDArray[np.int8]
    mpp: float
    scored: tuple[int, int, int, int]
    weight: UInt8 | None = None
    dots: Float64 | None = None

    @cached_property
    def centers(self) -> Float64:
        """(x, y) of each nucleus, float64[label + 1 2]; NaN where a label (or 0) has no pixel."""
        return centroids(self.labels)

    @cached_property
    def palette(self) -> tuple[Float32, Float32]:
        """Mean and standard deviation of the optical densities of red, green and blue where there is tissue."""
        od = densities(self.pixels[::2, ::2]).reshape(-1, 3)
        tissue = od[od.max(1) > TISSUE]
        tissue = tissue if len(tissue) > 100 else od
        return tissue.mean(0), tissue.std(0) + np.float32(0.02)


TISSUE = 0.15
"""Least optical density, in any color, of anything but glass."""


def densities(pixels: UInt8) -> Float32:
    """Optical densities (natural logarithm) of uint8 pixels, float32 of their shape."""
    return _DENSITY[pixels]


_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


def light(od: Float32) -> UInt8:
    """The pixels of optical densities: the inverse of `densities`, clipped to 0 to 255."""
    return np.clip(256 * np.exp(-od) - 1, 0, 255).astype(np.uint8)


def centroids(labels: Int32) -> Float64:
    """(x, y) of each label, float64[label + 1 2]; NaN where a label (or 0) has no pixel."""
    n = int(labels.max(initial=0)) + 1
    y, x = np.indices(labels.shape)
    size = np.bincount(labels.ravel(), minlength=n).astype(np.float64)
    size[0] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        at = [np.bincount(labels.ravel(), weights=v.ravel(), minlength=n) / size for v in (x, y)]
    out = np.stack(at, axis=1)
    out[~np.isfinite(out)] = np.nan
    return out


def at_mpp(field: Field, mpp: float) -> Field:
    """The field resampled to `mpp` as the host does it: pixels by area, labels by the nearest."""
    scale = field.mpp / mpp
    h, w = field.labels.shape
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    if size == (w, h):
        return field
    pixels = Image.fromarray(field.pixels).resize(size, Image.Resampling.BICUBIC)
    labels = Image.fromarray(field.labels).resize(size, Image.Resampling.NEAREST)
    left, top, right, bottom = (round(v * scale) for v in field.scored)
    weight = None if field.weight is None else Image.fromarray(field.weight).resize(size, Image.Resampling.NEAREST)
    return replace(
        field,
        pixels=np.asarray(pixels),
        labels=np.asarray(labels).astype(np.int32),
        mpp=mpp,
        scored=(left, top, right, bottom),
        weight=None if weight is None else np.asarray(weight),
        dots=None if field.dots is None else field.dots * scale,
    )


def part(field: Field, where: tuple[slice, slice], scored: tuple[int, int, int, int]) -> Field:
    """The outlined field's rows and columns `where`, of which `scored` (in its own pixels) counts."""
    return replace(
        field,
        pixels=np.ascontiguousarray(field.pixels[where]),
        labels=np.ascontiguousarray(field.labels[where]),
        scored=scored,
        weight=None if field.weight is None else np.ascontiguousarray(field.weight[where]),
    )


def in_box(xy: Float64, box: tuple[int, int, int, int]) -> Bool:
    """Which points float64[point 2] lie in (left, top, right, bottom)."""
    inside: Bool = np.all((xy >= box[:2]) & (xy < box[2:]), axis=1)
    return inside


def describe(fields: Sequence[Field]) -> Mapping[str, str]:
    """Per kind: how many images, sources and scored nuclei with which classes."""
    lines = {}
    for kind in sorted({f.kind for f in fields}):
        of_kind = [f for f in fields if f.kind == kind]
        counts = dict.fromkeys((*CLASSES, "no class"), 0)
        for f in of_kind:
            inside = in_box(f.centers, f.scored)
            for c in f.classes[: len(inside)][inside]:
                counts[CLASSES[c] if c >= 0 else "no class"] += 1
        nuclei = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        lines[kind] = (
            f"{_count(len(of_kind), 'image')} of {_count(len({f.source for f in of_kind}), 'source')}: {nuclei}"
        )
    return lines


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("s" if n != 1 else "")
