"""Cells and tissue drawn over the slide: the whole of it, and its densest fields at full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from kras_plugins.data import CELL_CLASSES, TISSUE_CLASSES, SemanticMap
from kras_plugins.semantics import wkb
from kras_plugins.semantics.geojson import COLORS, TISSUE_COLORS
from kras_plugins.semantics.polygons import trace
from kras_plugins.semantics.raster import Raster

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8

OVERVIEW_PX, FIELD_PX = 1120, 552
FIELDS = 4
_GAP, _LINE, _SHARPER = 16, 22, 2
_TINT = 0.22
_INK, _PAPER, _NUCLEUS = (31, 41, 51), (255, 255, 255), (85, 50, 110)
_MAX_OUTLINES = 20_000  # on the overview; more than that are dots


@dataclass(frozen=True, kw_only=True)
class Field:
    """A piece of the slide: `pixels` uint8[h w 3] of `mpp` µm, upper left corner at `xy` in level-0 pixels."""

    pixels: UInt8
    xy: tuple[float, float]
    mpp: float


def densest(semantic: SemanticMap, side_um: float, n: int = FIELDS) -> list[tuple[float, float]]:
    """Upper left corners in µm of up to `n` squares with the most cells that do not overlap, densest first."""
    xy = np.stack([semantic.cells[name].to_numpy() for name in ("x_um", "y_um")], 1).astype(np.float64)
    if not len(xy):
        return []
    step = side_um / 4
    low = xy.min(0)
    shape = np.ceil((xy.max(0) - low) / step).astype(int) + 1
    counts = np.zeros(shape + 4)
    np.add.at(counts, tuple(((xy - low) // step).astype(int).T), 1)
    total = counts.cumsum(0).cumsum(1)
    total = np.pad(total, ((1, 0), (1, 0)))
    window = total[4:, 4:] - total[:-4, 4:] - total[4:, :-4] + total[:-4, :-4]
    found: list[tuple[float, float]] = []
    while len(found) < n and window.max() > 0:
        i, j = np.unravel_index(int(window.argmax()), window.shape)
        found.append((float(low[0] + i * step), float(low[1] + j * step)))
        window[max(0, i - 3) : i + 4, max(0, j - 3) : j + 4] = 0
    return found


def draw_overlay(
    semantic: SemanticMap,
    overview: UInt8,
    mpp: tuple[float, float],
    level0: tuple[float, float],
    fields: Sequence[Field],
) -> Image.Image:
    """One picture: the overview with tissue classes tinted and cells outlined, the fields, legend and scale bars.

    `overview`: uint8[h w 3] of the whole slide with pixels of `mpp` µm (x, y); `level0`: µm per level-0 pixel.
    """
    corners = [np.array(f.xy) for f in fields]
    sides = [np.array(f.pixels.shape[1::-1]) * f.mpp / level0 for f in fields]
    shapes = _outlines(semantic, corners, sides)
    left = _overview(semantic, overview, mpp, level0, shapes.everything)
    draw = ImageDraw.Draw(left)
    for number, (corner, side) in enumerate(zip(corners, sides, strict=True), start=1):
        box = np.concatenate([corner, corner + side]) * np.tile(np.array(level0) / mpp, 2)
        draw.rectangle(box.tolist(), outline=_INK, width=3)
        _tag(draw, (box[0] + 3, box[1] + 3), str(number))
    panes = []
    for number, (field, own) in enumerate(zip(fields, shapes.by_field, strict=True), start=1):
        panes.append(_field(field, own, np.array(level0), number))
    return _page(left, float(mpp[0]), panes, [f.mpp for f in fields], semantic)


@dataclass(frozen=True)
class _Shapes:
    """Per field and, where there are few enough, of the whole slide: (class, ring in level-0 pixels or one point)."""

    by_field: list[list[tuple[str, Float64]]]
    everything: list[tuple[str, Float64]] | None


def _outlines(semantic: SemanticMap, corners: Sequence[Float64], sides: Sequence[Float64]) -> _Shapes:
    cells = semantic.cells
    xy = np.stack([cells[name].to_numpy() for name in ("x_px", "y_px")], 1).astype(np.float64)
    inside = [np.all((xy >= c - 40) & (xy < c + s + 40), axis=1) for c, s in zip(corners, sides, strict=True)]
    few = cells.num_rows <= _MAX_OUTLINES
    wanted = np.ones(len(xy), np.bool_) if few else np.any(inside, axis=0) if inside else np.zeros(len(xy), np.bool_)
    rings: dict[int, Float64] = {int(i): xy[i : i + 1] for i in np.flatnonzero(wanted)}
    if semantic.outlines is not None:
        start = 0
        for batch in pq.ParquetFile(semantic.outlines).iter_batches(16_384, columns=["geometry"]):
            column = batch.column(0)
            for i in np.flatnonzero(wanted[start : start + len(column)]).tolist():
                if column[i].is_valid:
                    rings[start + i] = wkb.decode(column[i].as_py())
            start += len(column)
    classes = cells["class"].combine_chunks()
    of = {i: (classes[i].as_py(), ring) for i, ring in rings.items()}
    return _Shapes([[of[int(i)] for i in np.flatnonzero(hit)] for hit in inside], list(of.values()) if few else None)


def _overview(
    semantic: SemanticMap,
    overview: UInt8,
    mpp: tuple[float, float],
    level0: tuple[float, float],
    shapes: list[tuple[str, Float64]] | None,
) -> Image.Image:
    height, width = overview.shape[:2]
    x, y = ((np.arange(n) + 0.5) * unit for n, unit in ((width, mpp[0]), (height, mpp[1])))
    rows, columns = semantic.tissue.shape
    raster = Raster(shape=(rows, columns), mpp=semantic.tissue_mpp, origin_um=semantic.origin_um)
    row, column, inside = raster.find(*(axis.ravel() for axis in np.meshgrid(x, y)))
    tissue = np.where(inside & semantic.analysed[row, column], semantic.tissue[row, column], 0).reshape(height, width)
    palette = np.array([TISSUE_COLORS[name] for name in TISSUE_CLASSES], np.float64)
    plain = np.isin(tissue, [TISSUE_CLASSES.index(name) for name in ("background", "other")])
    tint = np.where(plain, 0.0, _TINT)[..., None]
    image = Image.fromarray(np.rint(overview * (1 - tint) + palette[tissue] * tint).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for number in np.unique(tissue[~plain]).tolist():
        for rings in trace((semantic.tissue == number) & semantic.analysed, raster):
            for ring in rings:
                _loop(draw, ring / mpp, TISSUE_COLORS[TISSUE_CLASSES[number]], 1)
    scale = np.array(level0) / mpp
    if shapes is not None and scale.mean() > 0.2:  # a nucleus is some pixels across
        for name, ring in shapes:
            _shape(draw, ring * scale, COLORS[name], 1 + (scale.mean() > 0.6))
        return image
    pixels = np.array(image)
    at = np.stack([semantic.cells[name].to_numpy() for name in ("x_um", "y_um")], 1) / mpp
    at = np.clip(at.astype(int), 0, (width - 1, height - 1))
    codes = semantic.cells["class"].combine_chunks().dictionary_encode()
    colors = np.array([COLORS[name] for name in codes.dictionary.to_pylist()], np.uint8).reshape(-1, 3)
    pixels[at[:, 1], at[:, 0]] = colors[codes.indices.to_numpy()]
    return Image.fromarray(pixels)


def _field(field: Field, shapes: Sequence[tuple[str, Float64]], level0: Float64, number: int) -> Image.Image:
    # Drawn at twice the size and reduced: lines without steps.
    big = Image.fromarray(field.pixels)
    big = big.resize((big.width * _SHARPER, big.height * _SHARPER), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(big)
    for name, ring in shapes:
        _shape(draw, (ring - field.xy) * level0 / field.mpp * _SHARPER, COLORS[name], 3)
    image = big.resize((big.width // _SHARPER, big.height // _SHARPER), Image.Resampling.BOX)
    _tag(ImageDraw.Draw(image), (4, 4), str(number))
    return image


def _shape(draw: ImageDraw.ImageDraw, ring: Float64, color: tuple[int, int, int], width: int) -> None:
    if len(ring) > 1:
        _loop(draw, ring, color, width)
        return
    (x, y), r = ring[0].tolist(), 2 * width
    draw.ellipse((x - r, y - r, x + r, y + r), outline=color, width=width)


def _loop(draw: ImageDraw.ImageDraw, ring: Float64, color: tuple[int, int, int], width: int) -> None:
    points = [(float(x), float(y)) for x, y in ring]
    draw.line([*points, points[0]], fill=color, width=width, joint="curve" if width > 1 else None)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib: Pillow's own font has neither µ nor ²."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _tag(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str) -> None:
    font = _font(15)
    box = draw.textbbox(at, text, font=font)
    draw.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill=_PAPER, outline=_INK)
    draw.text(at, text, fill=_INK, font=font)


def _page(
    left: Image.Image, mpp: float, panes: Sequence[Image.Image], pane_mpp: Sequence[float], semantic: SemanticMap
) -> Image.Image:
    """Overview on the left, fields two by two on the right, legend below."""
    across = min(2, len(panes))
    down = -(-len(panes) // 2)
    right = across * (FIELD_PX + _GAP)
    body = max(left.height, down * (FIELD_PX + _LINE))
    entries = _entries(semantic)
    width = max(left.width + right + 2 * _GAP, 760)
    per_row = max(1, (width - 2 * _GAP) // 250)
    legend = (-(-len(entries) // per_row)) * _LINE + 2 * _LINE
    page = Image.new("RGB", (width, body + _LINE + legend + 2 * _GAP), _PAPER)
    page.paste(left, (_GAP, _GAP))
    _bar(page, (_GAP, _GAP + left.height + 4), left.width, mpp)
    for i, pane in enumerate(panes):
        x = left.width + 2 * _GAP + (i % 2) * (FIELD_PX + _GAP)
        y = _GAP + (i // 2) * (FIELD_PX + _LINE)
        page.paste(pane, (x, y))
        _bar(page, (x, y + pane.height + 4), pane.width, pane_mpp[i])
    draw, font = ImageDraw.Draw(page), _font(13)
    top = body + _LINE + _GAP
    derived = {"density": "epithelium and stroma from the density of tumor cells"}.get(
        semantic.ce_source, f"epithelium and stroma: {semantic.ce_source}"
    )
    draw.text((_GAP, top), f"{semantic.cells.num_rows:,} cells; {derived}", fill=_INK, font=font)
    for i, (text, color, filled) in enumerate(entries):
        x, y = _GAP + (i % per_row) * 250, top + _LINE + (i // per_row) * _LINE
        box = (x, y + 2, x + 14, y + 14)
        if filled:
            tinted = tuple(round(255 * (1 - 2 * _TINT) + c * 2 * _TINT) for c in color)
            draw.rectangle(box, outline=color, width=2, fill=tinted)
        else:  # on the purple of nuclei, as in the picture
            draw.rectangle(box, fill=_NUCLEUS)
            draw.rectangle((box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2), outline=color, width=2)
        draw.text((x + 20, y), text, fill=_INK, font=font)
    return page


def _entries(semantic: SemanticMap) -> list[tuple[str, Any, bool]]:
    """Legend entries: cell classes with counts, tissue classes with areas, of what is on the slide."""
    counts = {e["values"]: e["counts"] for e in semantic.cells["class"].value_counts().to_pylist()}
    cells = [(f"{name}: {counts[name]:,}", COLORS[name], False) for name in CELL_CLASSES if name in counts]
    mm2 = np.bincount(semantic.tissue[semantic.analysed], minlength=len(TISSUE_CLASSES)) * semantic.tissue_mpp**2 / 1e6
    tissue = [
        (f"{name.replace('_', ' ')}: {area:{'.2f' if area >= 0.1 else '.2g'}} mm²", TISSUE_COLORS[name], True)
        for name, area in zip(TISSUE_CLASSES, mm2.tolist(), strict=True)
        if area > 0 and name not in ("background", "other")
    ]
    return [*cells, *tissue]


def _bar(page: Image.Image, at: tuple[int, int], width: int, mpp: float) -> None:
    """A scale bar in µm or mm below a picture of `width` pixels."""
    longest = mpp * width / 1000 / 4
    power = 10.0 ** np.floor(np.log10(longest))
    mm = next(step * power for step in (5, 2, 1) if step * power <= longest)
    length = round(mm * 1000 / mpp)
    draw = ImageDraw.Draw(page)
    draw.rectangle((at[0], at[1] + 4, at[0] + length, at[1] + 7), fill=_INK)
    text = f"{mm:g} mm" if mm >= 1 else f"{mm * 1000:g} µm"
    draw.text((at[0] + length + 8, at[1] - 2), text, fill=_INK, font=_font(12))
