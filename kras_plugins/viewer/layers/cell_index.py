"""The cells of a slide in memory, sorted by place: those of any rectangle are a few runs of the arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kras_plugins.data import CELL_CLASSES

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, Int32, UInt8
    from kras_plugins.viewer.geometry import Box

    Index = npt.NDArray[np.intp]

BLOCK_UM = 128.0
"""Side of the squares by which cells are sorted: about a hundred cells."""
RADIUS_UM = 4.0
"""Radius of a cell whose area was not measured: that of a lymphocyte."""
_REACH_UM = (16.0, 256.0)


@dataclass(frozen=True, eq=False)
class CellIndex:
    """Arrays of the same length, 25 bytes per cell, sorted by blocks of BLOCK_UM, in row-major order of blocks.

    `x`, `y`: float32, level-0 pixels; `code`: uint8, index into CELL_CLASSES; `radius`: float32, µm, of the circle with
    the cell's area; `area`: float32, µm², and `probability`: float32, NaN if unknown; `row`: int32, its row in the
    file. `starts`: int64[block + 1], where each block begins; `shape`: (rows, columns) of blocks; `block`: (width,
    height) of a block in level-0 pixels; `mpp`: µm per level-0 pixel; `reach`: µm that an outline may extend from x, y.
    """

    x: Float32
    y: Float32
    code: UInt8
    radius: Float32
    area: Float32
    probability: Float32
    row: Int32
    starts: npt.NDArray[np.int64]
    shape: tuple[int, int]
    block: tuple[float, float]
    mpp: tuple[float, float]
    reach: float

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def read(cls, file: Path, size: tuple[int, int], mpp: tuple[float, float]) -> CellIndex:
        """Read `cells.parquet` of a slide of `size` level-0 pixels with `mpp` µm each (x, y)."""
        columns = ["x_px", "y_px", "class", "prob", "area_um2", "major_um"]
        with pq.ParquetFile(file) as parquet:
            cells = parquet.read(columns=columns)
        x, y, probability, area, major = (
            np.asarray(cells[name].to_numpy(), np.float32) for name in columns if name != "class"
        )
        known = pa.array(CELL_CLASSES, pa.string())
        code = pc.index_in(cells["class"].combine_chunks(), known).fill_null(CELL_CLASSES.index("other"))
        return cls.of(x, y, np.asarray(code.to_numpy(), np.uint8), probability, area, major, size, mpp)

    @classmethod
    def of(
        cls,
        x: Float32,
        y: Float32,
        code: UInt8,
        probability: Float32,
        area: Float32,
        major: Float32,
        size: tuple[int, int],
        mpp: tuple[float, float],
    ) -> CellIndex:
        """Sort cells that are given in the order of their rows; `major`: µm, their longer axes, NaN if unknown."""
        block = (BLOCK_UM / mpp[0], BLOCK_UM / mpp[1])
        shape = (int(size[1] // block[1]) + 1, int(size[0] // block[0]) + 1)
        column = np.clip(x // np.float32(block[0]), 0, shape[1] - 1).astype(np.int32)
        line = np.clip(y // np.float32(block[1]), 0, shape[0] - 1).astype(np.int32)
        own = line * np.int32(shape[1]) + column
        order = np.argsort(own, kind="stable").astype(np.int32)
        radius = np.sqrt(area / np.float32(np.pi))
        radius = np.where(np.isfinite(radius) & (radius > 0), radius, np.float32(RADIUS_UM))
        longest = max((float(np.nanmax(v)) for v in (2 * radius, major) if np.isfinite(v).any()), default=0.0)
        return cls(
            x=x[order],
            y=y[order],
            code=code[order],
            radius=radius[order],
            area=area[order],
            probability=probability[order],
            row=order,
            starts=np.concatenate([[0], np.cumsum(np.bincount(own, minlength=shape[0] * shape[1]))]),
            shape=shape,
            block=block,
            mpp=mpp,
            reach=float(np.clip(longest, *_REACH_UM)),
        )

    def within(self, box: Box, margin_um: float) -> Index:
        """The cells with centers in a rectangle or at most `margin_um` outside it, in the order of the arrays."""
        lines, columns = (
            _touched(start, length, margin_um / mpp, block, n)
            for start, length, mpp, block, n in zip(
                (box.y, box.x), (box.height, box.width), self.mpp[::-1], self.block[::-1], self.shape, strict=True
            )
        )
        runs = [
            np.arange(self.starts[line * self.shape[1] + columns[0]], self.starts[line * self.shape[1] + columns[1]])
            for line in range(*lines)
        ]
        found = np.concatenate(runs) if runs else np.zeros(0, np.intp)
        wide, high = margin_um / self.mpp[0], margin_um / self.mpp[1]
        x, y = self.x[found], self.y[found]
        inside = (x >= box.x - wide) & (x <= box.x + box.width + wide)
        kept: Index = found[inside & (y >= box.y - high) & (y <= box.y + box.height + high)]
        return kept


def _touched(start: float, length: float, margin: float, block: float, n: int) -> tuple[int, int]:
    """First and last + 1 of `n` blocks along an axis; the outermost also contain what lies beyond the slide."""
    first = int(np.clip((start - margin) // block, 0, n - 1))
    last = int(np.clip((start + length + margin) // block, 0, n - 1))
    return first, last + 1
