"""From the cells of tiles to the cells of a slide: in the slide's frame, in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kras_plugins.contracts.profiler import Outputs, Tile, TileCells
from kras_plugins.data import CELL_CLASSES, CELL_COLUMNS
from kras_plugins.errors import PluginError
from kras_plugins.processing.placement import Placement, taken
from kras_plugins.processing.seams import Rim, rim_of
from kras_plugins.semantics import wkb
from kras_plugins.semantics.cells import FILE_SCHEMA, cell_batch, matrix_of
from kras_plugins.semantics.raster import Patch

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64, UInt8
    from kras_plugins.processing.handover import Lent
    from kras_plugins.semantics.raster import Raster

EDGE_PX = 0.5
"""A nucleus that ends this near the edge of a field, in pixels of the tile, is cut by it."""


def place(cells: TileCells, where: Placement) -> pa.RecordBatch:
    """The cells whose centroid lies where the tile takes them, with FILE_SCHEMA, in the slide's frame.

    Coordinates of TileCells are pixel centers (the first pixel is 0), those of the slide are measured from its corner
    (the first pixel's center is 0.5). NaN becomes null, outlines are rounded to a quarter of a pixel. Raises
    PluginError for unknown classes or columns, or arrays of unequal length.
    """
    _check(cells)
    known = [where.corner, where.scale, where.take_low, where.take_high, where.mpp]
    corner, scale, low, high, mpp = np.array(known)[..., None]  # each [2 1]
    at = corner + (np.array([cells.x, cells.y], np.float64) + 0.5) * scale
    inside = np.all((at >= low) & (at < high), axis=0)
    if where.frame is not None:
        inside &= counted(cells, at, where)
    kept = np.flatnonzero(inside)
    at = at[:, kept]
    columns = matrix_of([*cells.columns.values()], len(cells.x))[:, kept]
    values: dict[str, Any] = dict(zip(cells.columns, columns, strict=True))
    values |= dict(zip(("x_px", "y_px", "x_um", "y_um"), (*at, *(at * mpp)), strict=True))
    if not len(cells.outlines):
        outlines = None
    elif isinstance(cells.outlines, np.ndarray):
        outlines = wkb.encode_alike(_placed(cells.outlines[kept], where))
    else:
        polygons = [_placed(cells.outlines[i], where) for i in kept.tolist()]
        outlines = pa.array(wkb.encode(polygons), pa.binary())
    return cell_batch([cells.classes[i] for i in kept.tolist()], values, outlines)


def counted(cells: TileCells, at: Float64, where: Placement) -> Bool:
    """bool[cell]: which cells of a field of view count, of those with centers `at` float64[2 cell].

    Of a cell that the edge cuts, only a part is seen, not its center. Cells cut by the left or upper edge count, those
    that reach the right or lower edge do not. On average, as many count as have their center in the field (Gundersen,
    J Microsc 1977;111:219). Where a profiler gives no outlines, the center of the visible part decides.
    """
    assert where.frame is not None
    end = np.array(where.frame)
    inside: Bool = np.all((at >= 0) & (at < end[:, None]), axis=0)
    if len(cells.outlines):
        scale, corner = np.array(where.scale), np.array(where.corner)
        reach = np.array([np.max(outline, axis=0) for outline in cells.outlines])  # centers of pixels, the first is 0
        inside &= np.all((reach + 1 + EDGE_PX) * scale + corner < end, axis=1)
    return inside


def _placed(outlines: npt.NDArray[Any], where: Placement) -> Float64:
    """Outlines [... vertex 2] of pixel centers in the slide's frame, to a quarter of a pixel."""
    *some, vertices, _ = outlines.shape
    # A row is all x and y of a polygon: numpy is slow where rows are two numbers long.
    corner, scale = (np.tile(np.array(known) * 4, vertices) for known in (where.corner, where.scale))
    quarters = (outlines.reshape(*some, 2 * vertices) + 0.5) * scale
    quarters += corner
    np.rint(quarters, out=quarters)
    quarters /= 4
    placed: Float64 = quarters.reshape(outlines.shape)
    return placed


def _check(cells: TileCells) -> None:
    n = len(cells.x)
    lengths = {"y": len(cells.y), "classes": len(cells.classes), **{k: len(v) for k, v in cells.columns.items()}}
    if len(cells.outlines):
        lengths["outlines"] = len(cells.outlines)
    wrong = [f"{name} has {length}" for name, length in lengths.items() if length != n]
    unknown = sorted(set(cells.classes) - set(CELL_CLASSES)) + sorted(set(cells.columns) - set(CELL_COLUMNS))
    if wrong or unknown:
        raise PluginError(
            f"a profiler gave {n} cells, but {', '.join(wrong)}" if wrong else f"a profiler gave {', '.join(unknown)}",
            "every array of TileCells has one row per cell; classes and columns are those of kras_plugins",
        )


def cut_patch(
    tissue: UInt8 | None, where: Placement, raster: Raster, unlike: Bool | None = None, step: int = 1
) -> Patch:
    """A tile's rasters on the slide's raster: the tile's pixel below each raster pixel whose center is in its core.

    `step`: tile pixels per pixel of `unlike`.
    """
    found = []
    for axis, centers in enumerate(raster.centers()):
        at = centers / where.mpp[axis]
        first, last = np.searchsorted(at, [where.low[axis], where.high[axis]])
        pixel = ((at[first:last] - where.corner[axis]) / where.scale[axis]).astype(np.int64)
        found.append((int(first), pixel))
    (column, x), (row, y) = found
    return Patch(
        row=row,
        column=column,
        tissue=None if tissue is None else _at(tissue, y, x),
        unlike=None if unlike is None else _at(unlike, y // step, x // step),
    )


def _at(raster: npt.NDArray[Any], y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rows `y` and columns `x`, rounding errors at the edge moved inside."""
    height, width = raster.shape
    return raster[np.ix_(np.clip(y, 0, height - 1), np.clip(x, 0, width - 1))]


def decode_tile(
    decode: Callable[[Outputs, Tile], TileCells], outputs: Outputs, tile: Tile, where: Placement, raster: Raster
) -> tuple[pa.RecordBatch, Patch | None]:
    """What a worker process does with one tile's outputs: its cells in the slide's frame, and its tissue if any."""
    cells, side = decode(outputs, tile), tile.pixels.shape[:2]
    if cells.tissue is not None and cells.tissue.shape != side:
        raise PluginError(
            f"a profiler gave tissue of {cells.tissue.shape} for a tile of {side}",
            "TileCells.tissue covers the whole tile, halo included",
        )
    step = 1 if cells.unlike is None else side[0] // max(cells.unlike.shape[0], 1)
    if cells.unlike is not None and tuple(n * step for n in cells.unlike.shape) != side:
        raise PluginError(
            f"a profiler gave `unlike` of {cells.unlike.shape} for a tile of {side}",
            "TileCells.unlike covers the whole tile, halo included, with one pixel for k x k of its pixels",
        )
    drawn = cells.tissue is not None or cells.unlike is not None
    return place(cells, where), cut_patch(cells.tissue, where, raster, cells.unlike, step) if drawn else None


def decode_lent(
    decode: Callable[[Outputs, Tile], TileCells],
    names: Sequence[str],
    lent: Lent,
    mpp: float,
    places: Sequence[Placement],
    raster: Raster,
) -> list[tuple[bytes, Rim, Patch | None]]:
    """`decode_tile` of some tiles, whose pixels and outputs of these `names` are lent; `received` reads the cells."""
    pixels, *outputs = lent.arrays()
    done = []
    for i, where in enumerate(places):
        tile = Tile(pixels=pixels[i], mpp=mpp, wanted=taken(where))
        cells, patch = decode_tile(decode, {k: v[i] for k, v in zip(names, outputs, strict=True)}, tile, where, raster)
        # Arrow's own format: pickling 24 columns one by one takes twenty times as long.
        done.append((cells.serialize().to_pybytes(), rim_of(cells, where), patch))
    return done


def received(cells: bytes) -> pa.RecordBatch:
    """The cells that `decode_lent` sent, with FILE_SCHEMA."""
    return pa.ipc.read_record_batch(pa.py_buffer(cells), FILE_SCHEMA)
