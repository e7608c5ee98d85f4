"""Training samples: a random crop at a random scale and angle, stained and imaged as in another laboratory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from training.fields import TISSUE, UNKNOWN, Field, densities, light
from training.implant import faded, implant, vesicular

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy.typing import ArrayLike

    from kras_plugins.data import Float32, Int32, UInt8

MPP = 0.5
IMPLANTED, VESICULAR, FADED, RECOLORED = 0.2, 0.25, 0.3, 0.3
"""How often a sample has nuclei of another image, vesicular nuclei, pale nuclei, or the stain of another image."""
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
"""Optical densities (R, G, B) of hematoxylin and eosin: Ruifrok & Johnston, Anal Quant Cytol Histol 2001;23:291-299."""

_NEAREST, _BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a network is shown and what it should predict.

    `pixels` uint8[h w 3]; `nucleus` float32[h w] 0 or 1; `distance` float32[h w] in [0, 1]; `kind` int64[h w]: class,
    or UNKNOWN where there is no nucleus of a known class; `weight` float32[h w] of each pixel in the loss.
    """

    pixels: UInt8
    nucleus: Float32
    distance: Float32
    kind: npt.NDArray[np.int64]
    weight: Float32


def draw(field: Field, rng: np.random.Generator, side: int, others: Sequence[Field] = ()) -> Sample:
    """A random sample of `side` pixels at about 0.5 µm/px from a labeled field.

    `others`: fields whose stain it may take on, and whose nuclei may be set among its own.
    """
    pixels, labels, believed = crop(field, rng, side)
    classes = field.classes
    if others and rng.random() < IMPLANTED:
        donor = others[rng.integers(len(others))]
        pixels, labels, classes = implant((pixels, labels, classes), (*crop(donor, rng, side)[:2], donor.classes), rng)
    nucleus, distance, weight = targets(labels)
    if rng.random() < VESICULAR:
        pixels = vesicular(pixels, labels, distance, rng)
    if rng.random() < FADED:
        pixels = faded(pixels, labels, rng)
    if others and rng.random() < RECOLORED:
        pixels = recolor(pixels, field.palette, others[rng.integers(len(others))].palette, rng.uniform(0.3, 1))
    pixels = distract(pixels, nucleus, rng)
    pixels = photograph(restain(pixels, rng), rng)
    return Sample(
        pixels=pixels,
        nucleus=nucleus,
        distance=distance,
        kind=np.where(labels > 0, classes[labels], UNKNOWN).astype(np.int64),
        weight=weight * believed,
    )


def recolor(pixels: UInt8, own: tuple[Float32, Float32], other: tuple[Float32, Float32], share: float) -> UInt8:
    """Shift optical densities by `share` to another image's mean and spread (Reinhard et al., 2001, in density)."""
    od = densities(pixels)
    moved = (od - own[0]) / own[1] * other[1] + other[0]
    # Glass stays glass: pixels without density take no stain.
    share_here = np.float32(share) * np.clip(od.max(2, keepdims=True) / TISSUE, 0, 1)
    return light(np.maximum(od + share_here * (moved - od), 0))


def crop(field: Field, rng: np.random.Generator, side: int) -> tuple[UInt8, Int32, Float32]:
    """Cut, turn, mirror, stretch and scale: pixels, labels, and how far these are trusted (0 to 1).

    What lies beyond the image's edge is its mirror image. The scale is log-normal about the field's own, within 0.5 to
    1.7: for wrong or missing resolutions, and nuclei of other sizes. Half of the centers are nuclei drawn evenly over
    the field's classes, half are anywhere.
    """
    zoom = field.mpp / MPP * float(np.clip(np.exp(rng.normal(0, 0.28)), 0.5, 1.7))
    stretch = np.exp(rng.normal(0, 0.06, 2))
    angle = rng.uniform(0, 2 * np.pi)
    mirror = 1 if rng.random() < 0.5 else -1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # From output pixels to field pixels, about the two centers.
    matrix = (turn * [mirror, 1] * stretch) / zoom
    h, w = field.labels.shape
    center = _center(field, rng)
    reach = int(np.ceil(np.abs(matrix).sum(1).max() * side / 2)) + 2
    center = np.array([_within(center[0], reach, w, rng), _within(center[1], reach, h, rng)])
    low = np.floor(center).astype(int) - reach
    pixels = _mirrored(field.pixels, low, 2 * reach)
    labels = _mirrored(field.labels, low, 2 * reach)
    image, shrunk = Image.fromarray(pixels), 1.0
    if zoom < 0.8:  # shrinking by a matrix alone would alias
        image = image.resize((round(2 * reach * zoom),) * 2, _BICUBIC)
        shrunk = image.width / (2 * reach)
    data = _affine(matrix, center - low, side)
    out = image.transform((side, side), Image.Transform.AFFINE, tuple(shrunk * v for v in data), _BICUBIC)
    seen = Image.fromarray(labels).transform((side, side), Image.Transform.AFFINE, data, _NEAREST)
    believed = np.ones((side, side), np.float32)
    if field.weight is not None:
        weight = Image.fromarray(_mirrored(field.weight, low, 2 * reach))
        weight = weight.transform((side, side), Image.Transform.AFFINE, data, _NEAREST)
        believed = np.asarray(weight, np.float32) / 255
    return np.asarray(out), np.asarray(seen).astype(np.int32), believed


def _affine(matrix: npt.NDArray[np.float64], center: npt.NDArray[np.float64], side: int) -> tuple[float, ...]:
    """Pillow's six numbers from output pixels to input pixels; the input's `center` becomes the middle."""
    offset = center - matrix @ [side / 2, side / 2]
    return (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])


def _center(field: Field, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    h, w = field.labels.shape
    if rng.random() < 0.5:
        present = np.flatnonzero(np.isfinite(field.centers[:, 0]))
        if len(present):
            kinds = field.classes[present]
            kind = rng.choice(np.unique(kinds))
            chosen: npt.NDArray[np.float64] = field.centers[rng.choice(present[kinds == kind])]
            return chosen + rng.uniform(-40, 40, 2)
    return rng.uniform(0, [w, h])


def _within(center: float, reach: int, length: int, rng: np.random.Generator) -> float:
    """Move a center so that the crop reaches over the edge no more than it must."""
    half = 0.6 * reach  # corners of a turned crop may be mirrored
    if length <= 2 * half:
        return float(length / 2 + rng.uniform(-0.15, 0.15) * length)
    return float(np.clip(center, half, length - half))


def _mirrored(array: npt.NDArray[np.generic], low: npt.NDArray[np.int_], size: int) -> npt.NDArray[np.generic]:
    h, w = array.shape[:2]
    left, top = low.tolist()
    if left >= 0 and top >= 0 and left + size <= w and top + size <= h:
        return np.ascontiguousarray(array[top : top + size, left : left + size])
    x, y = (low[axis] + np.arange(size) for axis in (0, 1))
    rows, cols = (_reflect(i, n) for i, n in ((y, h), (x, w)))
    return array.take(rows, 0).take(cols, 1)


def _reflect(index: npt.NDArray[np.int_], length: int) -> npt.NDArray[np.int_]:
    index = np.mod(index, 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def targets(labels: Int32) -> tuple[Float32, Float32, Float32]:
    """(nucleus, distance, weight) float32[h w] each of a label map int32[h w].

    `distance` is that to the edge of the nucleus over the largest in that nucleus; edges between touching nuclei count.
    `weight` is 1, and 3 within two pixels of two nuclei, where merging is decided (Ronneberger et al., MICCAI 2015).
    """
    nucleus = labels > 0
    inside = nucleus & (ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3))
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) + nucleus
    deepest = np.zeros(int(labels.max(initial=0)) + 1, np.float32)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    distance = np.where(nucleus, depth / np.maximum(deepest[labels], 1), 0).astype(np.float32)
    largest = ndimage.maximum_filter(labels, 5)
    smallest = ndimage.minimum_filter(np.where(nucleus, labels, np.iinfo(np.int32).max), 5)
    between = (largest > 0) & (smallest < largest)
    return nucleus.astype(np.float32), distance, np.where(between, 3, 1).astype(np.float32)


def restain(pixels: UInt8, rng: np.random.Generator) -> UInt8:
    """Change the amounts and colors of both stains at random (after Tellez et al., Med Image Anal 2019;58:101544)."""
    if rng.random() < 0.1:
        return pixels
    strong = 1.0 if rng.random() < 0.5 else 0.5
    amounts = np.exp(rng.normal(0, strong * np.array([0.3, 0.4, 0.3])))
    base = rng.normal(0, strong * np.array([0.02, 0.04, 0.02]))
    return remix(pixels, amounts, np.abs(STAINS + rng.normal(0, strong * 0.12, (2, 3))), base)


def remix(pixels: UInt8, amounts: ArrayLike, stains: ArrayLike | None = None, base: ArrayLike = (0, 0, 0)) -> UInt8:
    """Unmix hematoxylin, eosin and the rest, multiply them by `amounts`, add `base` and mix them as `stains`.

    `stains`: optical densities of red, green and blue for both, [2 3]; None for STAINS.
    """
    od = densities(pixels).reshape(-1, 3)
    change = np.linalg.inv(_full(STAINS)) * np.asarray(amounts, np.float64)
    other = _full(STAINS if stains is None else np.asarray(stains, np.float64))
    mixed = od @ (change @ other).astype(np.float32) + (np.asarray(base, np.float64) @ other).astype(np.float32)
    return light(mixed).reshape(pixels.shape)


def _full(stains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    rest = np.cross(unit[0], unit[1])
    return np.stack([*unit, rest / np.linalg.norm(rest)])


def photograph(pixels: UInt8, rng: np.random.Generator) -> UInt8:
    """Another lamp, focus, camera and file: gain and gamma per channel, blur or sharpening, noise, JPEG."""
    x = pixels.astype(np.float32) / 255
    if rng.random() < 0.8:
        gamma = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)).astype(np.float32)
        gain = np.exp(rng.normal(0, 0.07) + rng.normal(0, 0.03, 3)).astype(np.float32)
        x = np.clip(x, 0, 1) ** gamma * gain
        x = x + np.float32(rng.normal(0, 0.02))
    if rng.random() < 0.15:  # toward gray or more vivid
        x = x + np.float32(rng.uniform(-0.5, 0.6)) * (x.mean(2, keepdims=True) - x)
    focus = rng.random()
    if focus < 0.3:
        sigma = rng.uniform(0.3, 1.6)
        x = ndimage.gaussian_filter(x, (sigma, sigma, 0))
    elif focus < 0.45:
        x = x + np.float32(rng.uniform(0.3, 1.5)) * (x - ndimage.gaussian_filter(x, (1, 1, 0)))
    if rng.random() < 0.3:
        x = x + rng.normal(0, rng.uniform(0.005, 0.03), x.shape).astype(np.float32)
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.4:
        file = io.BytesIO()
        Image.fromarray(out).save(file, "JPEG", quality=int(rng.integers(30, 90)))
        out = np.asarray(Image.open(file))
    return out


def distract(pixels: UInt8, nucleus: Float32, rng: np.random.Generator) -> UInt8:
    """Draw distractors where there is no nucleus (red blood cells, pigment, ink, dark streaks), and pen over all."""
    what = rng.random()
    if what > 0.38:
        return pixels
    if what < 0.06:
        return _pen(pixels, rng)
    free = 1 - ndimage.maximum_filter(nucleus, 3)
    if what > 0.28:
        dark = rng.uniform([0.2, 0.1], [1.0, 1.0]) @ STAINS
        cover = streaks((free.shape[0], free.shape[1]), rng) * free
        return np.asarray(pixels * np.exp(-2 * cover[..., None] * dark), dtype=np.uint8)
    return _spots(pixels, free, rng, red=what < 0.18)


def streaks(shape: tuple[int, int], rng: np.random.Generator) -> Float32:
    """Coverage float32[h w] of bands far longer than a nucleus: folds, keratin, fibers on edge."""
    h, w = shape
    canvas = Image.new("L", (w, h))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 6))):
        angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.3, 16))
        path = rng.uniform(0, [w, h]) + np.cumsum(12 * np.stack([np.cos(angles), np.sin(angles)], 1), axis=0)
        strength, width = int(rng.integers(130, 256)), round(2 * 20 ** rng.uniform())
        pen.line([(float(x), float(y)) for x, y in path], fill=strength, width=width, joint="curve")
    grain = 1 + 0.4 * rng.standard_normal((h, w), np.float32)
    cover = ndimage.gaussian_filter(np.asarray(canvas, np.float32) / 255 * grain, rng.uniform(0.5, 1.5))
    return np.asarray(np.clip(cover, 0, 1), dtype=np.float32)


def _pen(pixels: UInt8, rng: np.random.Generator) -> UInt8:
    """Translucent ink over one side of the image: the nuclei below stay nuclei."""
    h, w = pixels.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    ink = rng.uniform(0.15, 1.0, 3) if rng.random() < 0.5 else np.roll([0.9, 0.3, 0.3], rng.integers(3))
    cut = np.cos(t := rng.uniform(0, 2 * np.pi)) * (x - w / 2) + np.sin(t) * (y - h / 2)
    cover = np.clip((cut - rng.uniform(-w / 3, w / 3)) / 4, 0, 1)[..., None] * rng.uniform(0.4, 0.9)
    return np.asarray(pixels * (1 - cover * (1 - ink)), dtype=np.uint8)


def _spots(pixels: UInt8, free: Float32, rng: np.random.Generator, *, red: bool) -> UInt8:
    """Red blood cells, or grains of pigment and spatter of ink, where `free` is 1."""
    h, w = free.shape
    out = pixels.astype(np.float32)
    color = np.array([205.0, 60, 75]) if red else np.array([55.0, 38, 30])
    if not red and rng.random() < 0.4:
        color = np.roll([20, rng.uniform(20, 160), 130], rng.integers(3))
    color = color + rng.normal(0, 18, 3)
    for _ in range(int(rng.integers(3, 25))):
        cx, cy = rng.uniform(0, [w, h])
        radius = rng.uniform(5, 8) if red else rng.uniform(0.8, 3.5)
        a, b = radius * np.exp(rng.normal(0, 0.15, 2))
        c, s = np.cos(t := rng.uniform(0, np.pi)), np.sin(t)
        here = tuple(slice(max(0, int(m - 2 * radius)), min(n, int(m + 2 * radius) + 1)) for m, n in ((cy, h), (cx, w)))
        y, x = np.mgrid[here]
        u, v = (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s
        depth = 1 - np.hypot(u / a, v / b)
        cover = np.clip(depth * radius / 1.2, 0, 1) * (rng.uniform(0.6, 0.95) if red else 0.95)
        if red and rng.random() < 0.5:  # paler in the middle
            cover = cover * (1 - 0.35 * np.clip(depth, 0, 1))
        cover = (cover * free[here])[..., None]
        out[here] = out[here] * (1 - cover) + cover * color
    return np.clip(out, 0, 255).astype(np.uint8)
