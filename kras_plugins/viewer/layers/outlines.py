"""Outlines of cells: reading them from their Parquet file by rows, with a cache, and drawing them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import shapely
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from kras_plugins.data import Float64, Int32, UInt8

_KEPT_BYTES = 64 << 20
_FINER = 2


class Outlines:
    """The column `geometry` of a file, in row groups; the last used stay in memory, at most 64 MiB or one group."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with pq.ParquetFile(file) as parquet:
            meta = parquet.metadata
            sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._kept: OrderedDict[int, pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def rings(self, rows: Int32) -> tuple[Float64, npt.NDArray[np.intp]]:
        """Vertices float64[vertex 2] in level-0 pixels of the cells at these rows; owners intp[vertex] into rows.

        A cell without an outline has none.
        """
        groups = np.searchsorted(self._ends, rows, side="right")
        points, owners = [], []
        for group in np.unique(groups).tolist():
            own = np.flatnonzero(groups == group)
            start = int(self._ends[group - 1]) if group else 0
            found = self._group(group).take(rows[own].astype(np.int64) - start)
            shapes = shapely.from_wkb(found.to_numpy(zero_copy_only=False))
            vertices, owner = shapely.get_coordinates(shapely.get_exterior_ring(shapes), return_index=True)
            points.append(vertices)
            owners.append(own[owner])
        if not points:
            return np.zeros((0, 2)), np.zeros(0, np.intp)
        return np.concatenate(points), np.concatenate(owners)

    def _group(self, number: int) -> pa.Array:
        with self._lock:
            if number not in self._kept:
                with pq.ParquetFile(self._file) as parquet:
                    column = parquet.read_row_group(number, columns=["geometry"])["geometry"].combine_chunks()
                self._kept[number] = column
                while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            return self._kept[number]


def draw_outlines(size: tuple[int, int], points: Float64, owners: npt.NDArray[np.intp], colors: UInt8) -> UInt8:
    """RGBA uint8[h w 4] of `size` pixels: closed lines through `points`, float64[vertex 2] in pixels, by owner.

    `colors`: uint8[owner 4]. Lines are drawn at twice the size and reduced, so that they are smooth. They are drawn one
    pixel wide between integer points, which looks the same in all drawings (Pillow's wide lines do not), then widened.
    """
    image = Image.new("RGBA", (_FINER * (size[0] + 2), _FINER * (size[1] + 2)))
    draw = ImageDraw.Draw(image)
    # Pillow takes float32 without inspecting each number; integers are exact in it.
    fine = np.floor(points * _FINER + _FINER).astype(np.float32).ravel()
    bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
    palette = [tuple(color) for color in colors[owners[bounds[:-1]]].tolist()]
    for start, end, color in zip((2 * bounds[:-1]).tolist(), (2 * bounds[1:]).tolist(), palette, strict=True):
        draw.line(fine[start:end], fill=color)  # type: ignore[arg-type]
    reduced = Image.fromarray(_widened(np.array(image))).reduce(_FINER)
    return np.array(reduced)[1:-1, 1:-1]


def _widened(rgba: UInt8) -> UInt8:
    """Let each opaque pixel also color its empty neighbors, eight at most; pixels on the rim may be left out."""
    height, width = rgba.shape[:2]
    flat = rgba.view(np.uint32).ravel()
    inside = flat.reshape(height, width)[1:-1, 1:-1]
    rows, columns = np.nonzero(inside)
    at = (rows + 1) * width + columns + 1
    color, wide = flat[at], flat.copy()
    for step in (1, -1, width, -width, width + 1, width - 1, -width + 1, -width - 1):
        empty = wide[at + step] == 0
        wide[at[empty] + step] = color[empty]
    return wide.view(np.uint8).reshape(height, width, 4)
