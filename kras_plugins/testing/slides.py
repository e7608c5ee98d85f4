"""Synthetic H&E slides with known cells and tissue, and a signal that can be planted in them.

Everything is drawn as amounts of haematoxylin and eosin, which absorb light by Beer and Lambert's law; their
optical density vectors are those of Ruifrok and Johnston (Anal Quant Cytol Histol 2001;23:291-299).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage
from scipy.spatial import cKDTree

from kras_plugins.data import TISSUE_CLASSES
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, UInt8

    Words = npt.NDArray[np.str_]

HAEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)
GLASS = 243.0
INKS = {
    "red": (0.80, 0.12, 0.16),
    "green": (0.14, 0.55, 0.30),
    "blue": (0.14, 0.24, 0.72),
    "black": (0.12, 0.12, 0.14),
}
"""Pen colors: the share of red, green and blue light that the ink transmits."""
PEN_UM = 60.0
"""Minimum width of a stroke, a fifth of a real one: the tissue mask finds no thinner ones."""

HISTOLOGIES = ("LUAD", "LUSC")

_GRID = 4.0  # µm per pixel of the coarse maps from which everything is drawn
_STEP = 4  # downsampling from one level of the pyramid to the next
_VARIANTS = 32  # different nuclei drawn per class, each rotated a little further


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What was drawn on a slide.

    `x_um`, `y_um`: float32[cell], centers in micrometres of the level-0 frame; `classes`: one of CELL_CLASSES
    per cell. `tissue`: uint8[h w] of indices into TISSUE_CLASSES (the lumen of a gland is background) and
    `pen`: bool[h w], both with pixels of `tissue_mpp` µm from the slide's upper left corner.
    """

    x_um: Float32
    y_um: Float32
    classes: tuple[str, ...]
    tissue: UInt8
    pen: Bool
    tissue_mpp: float = _GRID


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Coarse maps, float32[h w] of _GRID µm: signed distances in µm, positive inside; where fibers run."""

    tissue: Float32
    nest: Float32
    lumen: Float32
    fiber: Float32


def draw_slide(
    path: Path,
    *,
    seed: int,
    size_um: tuple[float, float] = (1024.0, 1024.0),
    mpp: float = 0.5,
    histology: str = "LUAD",
    lymphocytes: float = 1.0,
    texture: float = 0.0,
    pen: str | None = None,
    blur_um: float = 0.0,
    blur_share: float = 1.0,
    stain: tuple[float, float] = (1.0, 1.0),
    levels: int = 3,
) -> Truth:
    """Draw one slide as a pyramidal tiled TIFF and return what is on it.

    The file has JPEG tiles of 256 pixels; level n is 4**n times smaller than level 0. `size_um`: width and
    height in µm; `mpp`: µm per pixel, written as the file's resolution. `histology`: LUAD has glands with
    lumina, LUSC solid nests. `lymphocytes`: density relative to the usual one. `texture`: 0 is usual; one more
    doubles the contrast of tumor chromatin, widens tumor nuclei by 12 % and makes stroma denser. `pen`:
    color of a pen stroke (INKS). `blur_um`: standard deviation of the defocus in the left `blur_share` of the
    width. `stain`: strengths of haematoxylin and eosin.

    The same arguments give the same bytes. The file appears under its name only when it is complete. Raises
    ConfigError for an argument that cannot be drawn.
    """
    if histology not in HISTOLOGIES:
        raise ConfigError(f"cannot draw histology {histology!r}", f"use one of {', '.join(HISTOLOGIES)}")
    if pen is not None and pen not in INKS:
        raise ConfigError(f"cannot draw a {pen!r} pen", f"use one of {', '.join(INKS)}")
    size = (round(size_um[0] / mpp), round(size_um[1] / mpp))
    if min(size) < 64 or lymphocytes < 0 or levels < 1:
        raise ConfigError(
            f"cannot draw {size[0]} x {size[1]} pixels with {levels} levels and {lymphocytes} x lymphocytes",
            "give at least 64 pixels on a side, one level and no negative density",
        )
    rng = np.random.default_rng(seed)
    plan = _plan(rng, size_um, histology)
    xy_um, classes, angles = _cells(rng, plan, size_um, mpp, lymphocytes)
    haematoxylin, eosin = _tissue_stains(rng, plan, size, mpp, histology, texture)
    _stamp_nuclei(rng, haematoxylin, eosin, xy_um, classes, angles, mpp, texture)
    pixels = _develop(rng, haematoxylin * np.float32(stain[0]), eosin * np.float32(stain[1]))
    stroke = np.zeros(plan.tissue.shape, bool)
    if pen is not None:
        stroke = _pen_stroke(rng, plan.tissue.shape)
        cover = _soft(_enlarge(_distance(stroke), size, mpp), 3.0)
        ink = cover[..., None] * (1 - np.array(INKS[pen], np.float32))
        pixels = (pixels * (1 - ink)).astype(np.uint8)
    image = Image.fromarray(pixels)
    if blur_um > 0:
        blurred = image.filter(ImageFilter.GaussianBlur(blur_um / mpp))
        image.paste(blurred.crop((0, 0, round(size[0] * blur_share), size[1])), (0, 0))
    _write(path, image, mpp, levels)

    tissue = np.full(plan.tissue.shape, TISSUE_CLASSES.index("background"), np.uint8)
    tissue[plan.tissue > 0] = TISSUE_CLASSES.index("cancer_stroma")
    tissue[plan.nest > 0] = TISSUE_CLASSES.index("cancer_epithelium")
    tissue[plan.lumen > 0] = TISSUE_CLASSES.index("background")
    x_um, y_um = xy_um.astype(np.float32).T
    return Truth(x_um=x_um, y_um=y_um, classes=tuple(classes.tolist()), tissue=tissue, pen=stroke)


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Float32:
    """Smooth noise float32[h w] with about zero mean and unit variance, whose bumps are `scale` pixels wide."""
    step = scale / 2
    coarse = rng.standard_normal((math.ceil(shape[0] / step) + 2, math.ceil(shape[1] / step) + 2), np.float32)
    coarse = ndimage.gaussian_filter(coarse, 1.0)  # round bumps: interpolation alone would leave squares
    coarse = (coarse - coarse.mean()) / coarse.std()
    box = (1.0, 1.0, 1.0 + shape[1] / step, 1.0 + shape[0] / step)
    bumps = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(bumps)


def _enlarge(coarse: Float32, size: tuple[int, int], mpp: float) -> Float32:
    """Enlarge a coarse map to float32[h w] of the slide's own pixels; `size` is (width, height)."""
    box = (0.0, 0.0, min(size[0] * mpp / _GRID, coarse.shape[1]), min(size[1] * mpp / _GRID, coarse.shape[0]))
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR, box=box))


def _soft(distance: Float32, width: float) -> Float32:
    """Turn signed distances into coverage in [0, 1] with an edge of `width`."""
    cover: Float32 = np.clip(np.float32(0.5) + distance / np.float32(width), 0, 1)
    return cover


def _distance(mask: Bool) -> Float32:
    """Signed distance in µm to the edge of a coarse mask, positive inside, smoothed to hide its pixels."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))
    outside = ndimage.distance_transform_edt(np.pad(~mask, 1, constant_values=True))
    signed = ((inside - outside) * _GRID)[1:-1, 1:-1].astype(np.float32)
    smooth: Float32 = ndimage.gaussian_filter(signed, 1.0)
    return smooth


def _plan(rng: np.random.Generator, size_um: tuple[float, float], histology: str) -> _Plan:
    """Lay out one piece of tissue with nests of tumor that cover about half of its area, and their lumina."""
    shape = (math.ceil(size_um[1] / _GRID), math.ceil(size_um[0] / _GRID))
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    outline = np.hypot(x, y).astype(np.float32)
    outline += 0.10 * np.clip(_noise(rng, shape, min(shape) / 5), -1.5, 1.5) + 0.015 * _noise(rng, shape, 8)
    tissue = _distance(outline < 0.78)
    bumps = _noise(rng, shape, 62 / _GRID) + 0.3 * _noise(rng, shape, 25 / _GRID)
    deep = tissue > 20
    nest = _distance(deep & (bumps > np.median(bumps[deep]) if deep.any() else deep))
    wall_um = 26 + 4 * _noise(rng, shape, 40 / _GRID)
    lumen = _distance(nest > wall_um if histology == "LUAD" else np.zeros(shape, bool))
    fiber = np.hypot(*np.mgrid[: shape[0], : shape[1]]).astype(np.float32) * np.float32(0.4 * _GRID)
    fiber += 80 * _noise(rng, shape, 180 / _GRID)
    return _Plan(tissue=tissue, nest=nest, lumen=lumen, fiber=fiber)


def _lattice(rng: np.random.Generator, size_um: tuple[float, float], spacing: float, jitter: float) -> Float64:
    """Points float64[point 2] in µm on a hexagonal lattice, moved by up to `jitter` spacings in each direction."""
    columns, rows = np.arange(0, size_um[0], spacing), np.arange(0, size_um[1], spacing * math.sqrt(3) / 2)
    x, y = np.meshgrid(columns, rows)
    x = x + spacing / 2 * (np.arange(len(rows)) % 2)[:, None]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return points + rng.uniform(-jitter, jitter, points.shape) * spacing


def _at(coarse: Float32, xy_um: Float64) -> Float32:
    """Values of a coarse map at points in µm."""
    column = np.clip((xy_um[:, 0] / _GRID).astype(int), 0, coarse.shape[1] - 1)
    row = np.clip((xy_um[:, 1] / _GRID).astype(int), 0, coarse.shape[0] - 1)
    values: Float32 = coarse[row, column]
    return values


def _cells(
    rng: np.random.Generator, plan: _Plan, size_um: tuple[float, float], mpp: float, lymphocytes: float
) -> tuple[Float64, Words, Float64]:
    """Place the cells: centers in µm (of pixels), classes, and the angle of the fibers there in radians."""
    tumor = _lattice(rng, size_um, 13.5, 0.26)
    tumor = tumor[(_at(plan.nest, tumor) > 3) & (_at(plan.lumen, tumor) < -5)]
    fibroblast = _lattice(rng, size_um, 24.0, 0.35)
    fibroblast = fibroblast[(_at(plan.tissue, fibroblast) > 6) & (_at(plan.nest, fibroblast) < -4)]

    # An inhomogeneous Poisson process, thinned from a homogeneous one; per µm² in stroma and in epithelium.
    crowding = np.exp(0.7 * _noise(rng, plan.tissue.shape, 140 / _GRID))
    crowding /= crowding.mean()
    usual = np.where(plan.nest > 0, 150e-6, 1000e-6) * ((plan.tissue > 5) & (plan.lumen < -4))
    rate = lymphocytes * crowding * usual
    peak = float(rate.max())
    candidates = rng.uniform(0, size_um, (rng.poisson(peak * size_um[0] * size_um[1]), 2))
    accepted = rng.uniform(0, max(peak, 1e-12), len(candidates)) < _at(rate.astype(np.float32), candidates)
    immune = _apart(candidates[accepted], 6.5)

    if len(immune):
        crowd = cKDTree(immune)
        tumor = tumor[crowd.query(tumor)[0] > 7.5]
        fibroblast = fibroblast[crowd.query(fibroblast)[0] > 7.5]
    points = np.concatenate([tumor, fibroblast, immune])
    classes = np.repeat(["tumor", "fibroblast", "lymphocyte"], [len(tumor), len(fibroblast), len(immune)])
    inside = np.all((points > 10) & (points < np.subtract(size_um, 10)), axis=1)
    points, classes = points[inside], classes[inside]
    down, right = np.asarray(np.gradient(plan.fiber))
    angles = np.arctan2(_at(down, points), _at(right, points)).astype(np.float64) + math.pi / 2
    return (np.floor(points / mpp) + 0.5) * mpp, classes, angles


def _apart(points: Float64, least: float) -> Float64:
    """Drop points that are closer than `least` to an earlier one (Matérn's second hard-core process)."""
    keep = np.ones(len(points), bool)
    if len(points) > 1:
        keep[cKDTree(points).query_pairs(least, output_type="ndarray").max(axis=1)] = False
    return points[keep]


def _tissue_stains(
    rng: np.random.Generator, plan: _Plan, size: tuple[int, int], mpp: float, histology: str, texture: float
) -> tuple[Float32, Float32]:
    """Amounts of haematoxylin and eosin, float32[h w] each, of everything but the nuclei."""
    shape = (size[1], size[0])

    def inside(distance: Float32) -> Float32:
        return _soft(_enlarge(distance, size, mpp), 1.5)

    solid = inside(plan.tissue) * (1 - inside(plan.lumen))
    nest = inside(plan.nest)
    phase = _enlarge(plan.fiber, size, mpp) + 2.2 * _noise(rng, shape, 14 / mpp)
    waves = np.sin(phase * np.float32(2 * math.pi / 11)) + 0.5 * np.sin(phase * np.float32(2 * math.pi / 4.7))
    waves *= 0.8 + 0.6 * _noise(rng, shape, 16 / mpp)
    grain = _noise(rng, shape, max(1.2 / mpp, 1.0))
    strength = math.exp(0.35 * texture)
    stroma = np.clip(0.36 * strength + 0.11 * strength * waves + 0.04 * grain, 0.03, None)
    stroma *= 1 - 0.8 * np.clip(_noise(rng, shape, 18 / mpp) - 1.5, 0, 1)  # clefts between the fibers
    cytoplasm = (0.30 if histology == "LUAD" else 0.44) * (1 + 0.12 * grain)
    eosin = solid * (nest * cytoplasm + (1 - nest) * stroma)
    haematoxylin = solid * (0.05 + 0.12 * nest) * (1 + 0.2 * grain)
    return np.maximum(haematoxylin, 0), np.maximum(eosin, 0)


def _nucleus(
    rng: np.random.Generator,
    mpp: float,
    *,
    axes_um: tuple[float, float],
    angle: float,
    irregular: float,
    density: float,
    chromatin: float,
    nucleoli: int,
) -> tuple[Float32, Float32]:
    """Draw one nucleus: amount of haematoxylin and coverage, float32[p p] each, p odd.

    `axes_um`: half-axes of its ellipse; `irregular`: relative waviness of the outline; `chromatin`: its
    relative contrast.
    """
    reach = math.ceil((max(axes_um) * (1 + 2 * irregular) + 1) / mpp)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] * mpp
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    theta = np.arctan2(across, along)
    radius = np.hypot(along / axes_um[0], across / axes_um[1])
    outline = 1 + sum(irregular / k * rng.normal() * np.cos(k * theta + rng.uniform(0, 2 * math.pi)) for k in (2, 3, 4))
    depth = (outline - radius) * math.sqrt(axes_um[0] * axes_um[1])  # µm inside the edge
    cover = _soft(depth.astype(np.float32), max(0.6, mpp))
    clumps = ndimage.gaussian_filter(rng.standard_normal(radius.shape), 0.55 / mpp)
    clumps /= clumps.std()
    rim = np.exp(-((depth - 0.4) ** 2) / 0.5)
    amount = density * (1 + chromatin * clumps + min(2 * chromatin, 0.4) * rim)
    for _ in range(nucleoli):
        u, v = rng.uniform(-0.45, 0.45, 2) * axes_um
        amount += 0.9 * density * np.exp(-((along - u) ** 2 + (across - v) ** 2) / (2 * 0.65**2))
    return (np.clip(amount, 0.05, 2.5) * cover).astype(np.float32), cover.astype(np.float32)


def _stock(rng: np.random.Generator, mpp: float, texture: float) -> dict[str, list[tuple[Float32, Float32]]]:
    """Draw the nuclei of each class that are then stamped many times."""
    wide, contrast = math.exp(0.11 * texture), 0.20 * math.exp(0.7 * texture)
    kinds = {  # half-axes in µm, waviness, haematoxylin, contrast of the chromatin, most nucleoli
        "tumor": ((4.4 * wide, 5.6 * wide), (3.6 * wide, 4.4 * wide), 0.09, (0.62, 0.85), contrast, 2),
        "lymphocyte": ((2.6, 3.0), (2.5, 2.8), 0.03, (1.4, 1.7), 0.10, 0),
        "fibroblast": ((5.5, 8.0), (1.3, 1.9), 0.04, (0.9, 1.2), 0.12, 0),
    }
    return {
        name: [
            _nucleus(
                rng,
                mpp,
                axes_um=(rng.uniform(*long), rng.uniform(*short)),
                angle=math.pi * k / _VARIANTS,
                irregular=irregular,
                density=rng.uniform(*density),
                chromatin=chromatin,
                nucleoli=int(rng.integers(0, nucleoli + 1)),
            )
            for k in range(_VARIANTS)
        ]
        for name, (long, short, irregular, density, chromatin, nucleoli) in kinds.items()
    }


def _stamp_nuclei(
    rng: np.random.Generator,
    haematoxylin: Float32,
    eosin: Float32,
    xy_um: Float64,
    classes: Words,
    angles: Float64,
    mpp: float,
    texture: float,
) -> None:
    """Add the nuclei to the stain maps in place."""
    nuclei = _stock(rng, mpp, texture)
    along_fibers = np.round(angles / math.pi * _VARIANTS).astype(int) % _VARIANTS
    variant = np.where(classes == "fibroblast", along_fibers, rng.integers(0, _VARIANTS, len(classes)))
    for (column, row), name, k in zip((xy_um / mpp).astype(int).tolist(), classes, variant, strict=True):
        amount, cover = nuclei[name][k]
        r = len(amount) // 2
        top, left = max(row - r, 0), max(column - r, 0)
        here = np.s_[top : row + r + 1, left : column + r + 1]
        h, w = haematoxylin[here].shape
        part = np.s_[top - row + r :, left - column + r :]
        amount, cover = amount[part][:h, :w], cover[part][:h, :w]
        np.maximum(haematoxylin[here], amount, out=haematoxylin[here])
        eosin[here] *= 1 - 0.6 * cover


def _develop(rng: np.random.Generator, haematoxylin: Float32, eosin: Float32) -> UInt8:
    """Turn stains into pixels uint8[h w 3]: I = I0 exp(-sum of amount x vector), plus sensor noise."""
    pixels = np.empty((*haematoxylin.shape, 3), np.uint8)
    noise = rng.standard_normal(haematoxylin.shape, np.float32) * np.float32(1.4)
    for channel, (h, e) in enumerate(zip(HAEMATOXYLIN, EOSIN, strict=True)):
        light = np.float32(GLASS) * np.exp(-(np.float32(h) * haematoxylin + np.float32(e) * eosin))
        pixels[..., channel] = np.clip(light + noise, 0, 255)
    return pixels


def _pen_stroke(rng: np.random.Generator, shape: tuple[int, int]) -> Bool:
    """A stroke across a corner of the slide, partly on glass and partly on tissue, as a coarse mask."""
    h, w = shape
    ends = np.array([[0.07, 0.62], [0.14, 0.18], [0.60, 0.09]]) + rng.uniform(-0.03, 0.03, (3, 2))
    t = np.linspace(0, 1, 50)[:, None]
    curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
    canvas = Image.new("L", (w, h))
    width = round(max(0.05 * min(h, w), PEN_UM / _GRID))
    ImageDraw.Draw(canvas).line((curve * (w, h)).ravel().tolist(), fill=255, width=width)
    return np.asarray(canvas) > 0


def _write(path: Path, image: Image.Image, mpp: float, levels: int) -> None:
    """Write a generic tiled pyramidal TIFF that both OpenSlide and tifffile read, without a date in it."""
    partial = path.with_name(path.name + ".part")
    with tifffile.TiffWriter(partial) as tiff:
        for level in range(levels):
            small = image if level == 0 else image.reduce(_STEP**level)
            tiff.write(
                np.asarray(small),
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 88},
                subfiletype=int(level > 0),
                resolution=(1e4 / mpp / _STEP**level, 1e4 / mpp / _STEP**level),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
                maxworkers=1,
            )
    os.replace(partial, path)
