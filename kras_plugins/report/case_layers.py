"""Layers to lie over a small picture of a slide: transparent where there is nothing to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor

from kras_plugins.data import CELL_CLASSES, TISSUE_CLASSES
from kras_plugins.report.heatmap import averaged, percentiles
from kras_plugins.report.style import LOWERS, RAISES
from kras_plugins.semantics.geojson import COLORS, TISSUE_COLORS
from kras_plugins.semantics.raster import Raster

if TYPE_CHECKING:
    from kras_plugins.data import Float64, Int32, SemanticMap, UInt8

_ALPHA, _FAINTEST, _TINT = 150, 40, 70
_CLIP = 99
"""The scale ends at this percentile of distances from zero, so that one tile alone does not fade all others."""
_NUCLEUS_UM = 7.0


def attention_layer(
    shape: tuple[int, int], xy: Int32, size: tuple[float, float], values: Float64, scale: tuple[float, float]
) -> Image.Image:
    """Tiles colored by the percentile of their attention among those of the slide, as in `attention_heatmap`.

    `shape`: (height, width) of the picture; `xy`: int32[tile 2], `size`: (width, height), level-0 pixels; `scale`:
    level-0 pixels per pixel along x and y. RGBA.
    """
    from matplotlib import colormaps

    shares, painted = averaged(shape, xy, size, percentiles(values), scale)
    rgba = np.zeros((*shape, 4), np.uint8)
    rgba[painted, :3] = np.rint(255 * colormaps["cividis"](shares)[:, :3])
    rgba[painted, 3] = _ALPHA
    return Image.fromarray(rgba)


def contribution_layer(
    shape: tuple[int, int], xy: Int32, size: tuple[float, float], values: Float64, scale: tuple[float, float]
) -> Image.Image:
    """Tiles in the color of what raises or lowers a score, the stronger the farther from zero; as `attention_layer`."""
    mean, painted = averaged(shape, xy, size, values, scale)
    far = np.abs(values[np.isfinite(values) & (values != 0)])
    strength = np.clip(np.abs(mean) / (np.percentile(far, _CLIP) if len(far) else 1.0), 0, 1)
    poles = np.array([ImageColor.getrgb(color) for color in (LOWERS, RAISES)], np.uint8)
    rgba = np.zeros((*shape, 4), np.uint8)
    rgba[painted, :3] = poles[(mean > 0).astype(int)]
    rgba[painted, 3] = np.rint(_FAINTEST + (220 - _FAINTEST) * strength)
    return Image.fromarray(rgba)


def cells_layer(shape: tuple[int, int], semantic: SemanticMap, mpp: tuple[float, float]) -> Image.Image:
    """Tissue classes as tints and cells as dots over them; a pixel of several cells is of the commonest class.

    `shape`: (height, width) of the picture of the whole slide, with pixels of `mpp` µm along x and y. RGBA.
    """
    rgba = _tissue(shape, semantic, mpp)
    codes = semantic.cells["class"].combine_chunks().dictionary_encode()
    number = np.array([CELL_CLASSES.index(name) for name in codes.dictionary.to_pylist()], np.int64)
    classes = number[codes.indices.to_numpy()] if len(number) else np.empty(0, np.int64)
    height, width = shape
    x, y = (
        (semantic.cells[axis].to_numpy() / unit).astype(np.int64).clip(0, n - 1)
        for axis, unit, n in zip(("x_um", "y_um"), mpp, (width, height), strict=True)
    )
    pixels, inverse = np.unique(y * width + x, return_inverse=True)
    counts = np.zeros((len(pixels), len(CELL_CLASSES)), np.int32)
    np.add.at(counts, (inverse, classes), 1)
    commonest = counts.argmax(axis=1) if len(pixels) else np.empty(0, np.int64)
    colors = np.array([COLORS[name] for name in CELL_CLASSES], np.uint8)[commonest]
    side = max(1, min(5, round(_NUCLEUS_UM / max(mpp))))
    for dy in range(side):
        for dx in range(side):
            row = (pixels // width + dy - side // 2).clip(0, height - 1)
            column = (pixels % width + dx - side // 2).clip(0, width - 1)
            rgba[row, column, :3], rgba[row, column, 3] = colors, 255
    return Image.fromarray(rgba)


def _tissue(shape: tuple[int, int], semantic: SemanticMap, mpp: tuple[float, float]) -> UInt8:
    """RGBA uint8[h w 4] of the tissue classes, faint; background and other tissue transparent."""
    x, y = ((np.arange(n) + 0.5) * unit for n, unit in ((shape[1], mpp[0]), (shape[0], mpp[1])))
    rows, columns = semantic.tissue.shape
    raster = Raster(shape=(rows, columns), mpp=semantic.tissue_mpp, origin_um=semantic.origin_um)
    row, column, inside = raster.find(*(axis.ravel() for axis in np.meshgrid(x, y)))
    tissue = np.where(inside & semantic.analysed[row, column], semantic.tissue[row, column], 0)
    plain = ("background", "other")
    palette = np.array([(*TISSUE_COLORS[n], 0 if n in plain else _TINT) for n in TISSUE_CLASSES], np.uint8)
    return np.ascontiguousarray(palette[tissue].reshape(*shape, 4))
