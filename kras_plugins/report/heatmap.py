"""Heat map of one slide, and its tiles as GeoJSON for QuPath."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kras_plugins.errors import StoreError
from kras_plugins.files.atomic import write_atomic
from kras_plugins.files.regular import TABLE, read_text
from kras_plugins.report.html import png_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, Int32, UInt8

    Values = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_OPACITY = 0.55
_STRIP = 62
_NARROWEST = 420
_INK = (31, 41, 51)


def attention_heatmap(
    thumbnail: UInt8,
    xy: Int32,
    size: tuple[float, float],
    values: Values,
    *,
    scale: float,
    mpp: float | None = None,
    name: str = "attention",
) -> Image.Image:
    """Color every tile by the percentile of its value, over the thumbnail, with legend and scale bar below.

    `thumbnail`: uint8[h w 3]; `xy`: int32[tile 2], `size`: (width, height), level-0 pixels; `scale`: level-0
    pixels per thumbnail pixel; `mpp`: µm per level-0 pixel (no scale bar without it). Percentiles, because
    attention is too skewed for a linear scale: blue is the lowest tile of this slide, yellow the highest,
    whatever their values (cividis, readable by the color-blind). Tiles with a NaN value stay uncolored,
    overlapping ones are averaged.
    """
    from matplotlib import colormaps

    height, width = thumbnail.shape[:2]
    shares = percentiles(np.asarray(values, dtype=np.float64))
    means, painted = averaged((height, width), xy, size, shares, (scale, scale))
    colors = 255 * colormaps["cividis"](means)[:, :3]
    pixels = thumbnail.astype(np.float64)
    pixels[painted] = (1 - _OPACITY) * pixels[painted] + _OPACITY * colors
    canvas = Image.new("RGB", (max(width, _NARROWEST), height + _STRIP), "white")
    canvas.paste(Image.fromarray(np.rint(pixels).astype(np.uint8)))
    title = f"{name}: percentile among the {int(np.isfinite(shares).sum())} tiles of this slide"
    _draw_legend(canvas, top=height, title=title)
    if mpp is not None:
        _draw_scale_bar(canvas, top=height, mm_per_pixel=mpp * scale / 1000)
    return canvas


def averaged(
    shape: tuple[int, int], xy: Int32, size: tuple[float, float], values: Float64, scale: tuple[float, float]
) -> tuple[Float64, Bool]:
    """The tiles' values on a picture of `shape` (height, width): float64[painted], and where, bool[h w].

    `xy`: int32[tile 2], `size`: (width, height), level-0 pixels; `scale`: level-0 pixels per pixel along x and y. Tiles
    with a NaN value are left out, overlapping ones averaged.
    """
    total, count = np.zeros(shape), np.zeros(shape)
    left_top = np.rint(np.asarray(xy) / scale).astype(int)
    # Both edges are rounded, so that neighbors share one; a tile is never less than one pixel.
    right_bottom = np.maximum(np.rint((np.asarray(xy) + np.asarray(size)) / scale).astype(int), left_top + 1)
    for (x0, y0), (x1, y1), value in zip(left_top.clip(0), right_bottom.clip(0), values, strict=True):
        if np.isfinite(value):
            total[y0:y1, x0:x1] += value
            count[y0:y1, x0:x1] += 1
    painted = count > 0
    return total[painted] / count[painted], painted


def write_png(path: Path, image: Image.Image) -> Path:
    """Write the pixels and nothing else: no text chunk, EXIF or time stamp that could name a patient.

    The file is either the old one or the complete new one. Raises StoreError when it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(png_bytes(image))
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {e.strerror or e}", "free disk space or choose another folder") from e
    return path


def write_tiles_geojson(path: Path, xy: Int32, size: tuple[float, float], measurements: Mapping[str, Values]) -> Path:
    """Write `tiles_geojson` into a file; raises StoreError when it cannot be written."""
    write_atomic(path, tiles_geojson(xy, size, measurements))
    return path


def tiles_geojson(xy: Int32, size: tuple[float, float], measurements: Mapping[str, Values]) -> str:
    """The tiles as a FeatureCollection that QuPath opens: rectangles in level-0 pixels with their measurements.

    `xy`: int32[tile 2], `size`: (width, height) in level-0 pixels, not rounded; `measurements`: float[tile] by name.
    A NaN value becomes a tile without that measurement, since JSON has no NaN.
    """
    width, height = (int(side) if float(side).is_integer() else float(side) for side in size)
    features = []
    names = list(measurements)
    columns = (np.asarray(values).tolist() for values in measurements.values())
    for (x, y), *values in zip(np.asarray(xy).tolist(), *columns, strict=True):
        ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
        known = {name: value for name, value in zip(names, values, strict=True) if np.isfinite(value)}
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"objectType": "tile", "measurements": known},
            }
        )
    text = json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":"), allow_nan=False)
    return text + "\n"


def read_tiles_geojson(path: Path) -> tuple[Int32, tuple[float, float], dict[str, Float64]]:
    """What `write_tiles_geojson` wrote: `xy` int32[tile 2], size, and float64[tile] by name, NaN where there is none.

    Raises StoreError for a file that is not whole.
    """
    try:
        features = json.loads(read_text(path, TABLE))["features"]
        rings = np.array([f["geometry"]["coordinates"][0] for f in features], np.float64).reshape(-1, 5, 2)
        known = [f["properties"]["measurements"] for f in features]
        names = dict.fromkeys(name for one in known for name in one)
        values = {name: np.array([one.get(name, np.nan) for one in known], np.float64) for name in names}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
        raise StoreError(f"{path}: not the tiles of `kras predict`: {e}", "run the same command again") from e
    width, height = (rings[0, 2] - rings[0, 0]).tolist() if len(rings) else (1.0, 1.0)
    return rings[:, 0].astype(np.int32), (width, height), values


def percentiles(values: Float64) -> Float64:
    """Mid-rank percentile of each value in [0, 1]: lowest 0, highest 1, all alike 0.5; NaN stays NaN."""
    from scipy.stats import rankdata

    finite = np.isfinite(values)
    shares = np.full(values.shape, np.nan)
    n = int(finite.sum())
    shares[finite] = (rankdata(values[finite]) - 1) / (n - 1) if n > 1 else 0.5
    return shares


def _draw_legend(canvas: Image.Image, *, top: int, title: str) -> None:
    from matplotlib import colormaps

    length, thickness = 160, 10
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    ramp: Float32 = 255 * colormaps["cividis"](np.linspace(0, 1, length))[:, :3]
    bar = np.repeat(np.rint(ramp).astype(np.uint8)[None], thickness, axis=0)
    canvas.paste(Image.fromarray(bar), (10, top + 28))
    draw.text((10, top + 8), title, fill=_INK, font=font)
    draw.text((10, top + 42), "lowest", fill=_INK, font=font)
    draw.text((10 + length, top + 42), "highest", fill=_INK, font=font, anchor="ra")


def _draw_scale_bar(canvas: Image.Image, *, top: int, mm_per_pixel: float) -> None:
    """A bar of 1, 2 or 5 × 10^k mm, at most a third of the picture wide."""
    longest = mm_per_pixel * canvas.width / 3
    power = 10.0 ** np.floor(np.log10(longest))
    mm = next(step * power for step in (5, 2, 1) if step * power <= longest)
    length = round(mm / mm_per_pixel)
    right = canvas.width - 10
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((right - length, top + 31, right, top + 34), fill=_INK)
    draw.text((right, top + 42), f"{mm:g} mm", fill=_INK, font=ImageFont.load_default(12), anchor="ra")
