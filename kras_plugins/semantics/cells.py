"""The cells of a slide as columns, and as a Parquet file that is written as cells arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kras_plugins.data import CELL_COLUMNS

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32

CELL_SCHEMA = pa.schema([(name, pa.string() if name == "class" else pa.float32()) for name in CELL_COLUMNS])
"""The columns of `SemanticMap.cells`."""

_GEO = (
    b'{"version":"1.1.0","primary_column":"geometry","columns":{"geometry":'
    b'{"encoding":"WKB","geometry_types":["Polygon"],"crs":null}}}'
)
FILE_SCHEMA = CELL_SCHEMA.append(pa.field("geometry", pa.binary())).with_metadata({b"geo": _GEO})
"""The columns of `cells.parquet` (a GeoParquet file): the cells' and their outlines, WKB polygons in level-0 pixels."""

ROW_GROUP = 16_384
"""Cells that are written at once: some 10 MB, so that writing happens while the network works, not at the end."""


def cell_batch(
    classes: Sequence[str], values: Mapping[str, Any], outlines: Sequence[bytes | None] | pa.Array | None
) -> pa.RecordBatch:
    """Cells with FILE_SCHEMA from columns of one length; NaN and columns that are not given become null.

    `outlines`: WKB polygons in level-0 pixels, None for a cell (or all) without one.
    """
    n = len(classes)
    matrix = matrix_of([*values.values()], n)
    columns = {"class": pa.array(classes, pa.string())}
    for name, row, partly in zip(values, matrix, np.any(np.isnan(matrix), axis=1), strict=True):
        whole = pa.Array.from_buffers(pa.float32(), n, [None, pa.py_buffer(row)])
        columns[name] = pa.array(row, from_pandas=True) if partly else whole
    unknown = pa.nulls(n, pa.float32())
    if not isinstance(outlines, pa.Array):
        outlines = pa.array([None] * n if outlines is None else outlines, pa.binary())
    arrays = [*(columns.get(name, unknown) for name in CELL_COLUMNS), outlines]
    return pa.RecordBatch.from_arrays(arrays, schema=FILE_SCHEMA)


def matrix_of(columns: Sequence[npt.ArrayLike], n: int) -> Float32:
    """Columns of `n` numbers as float32[column cell]: one array is made faster than many."""
    return np.array(columns, np.float32).reshape(len(columns), n)


class CellWriter:
    """Writes record batches of FILE_SCHEMA to a Parquet file in row groups as they arrive; a context manager.

    `n` counts the cells. Memory: two row groups. Do not use a file that was left by an exception.
    """

    def __init__(self, file: Path) -> None:
        self.n = 0
        # Hardly any number or outline occurs twice: dictionaries of them would take time and space.
        self._writer = pq.ParquetWriter(file, FILE_SCHEMA, compression="zstd", use_dictionary=["class"])
        self._waiting: list[pa.RecordBatch] = []
        self._kept: list[Bool] = []
        self._rows = 0

    def write(self, cells: pa.RecordBatch, without: npt.ArrayLike = ()) -> None:
        """Add cells except those in the rows `without`; the order of calls is the order of rows."""
        kept = np.ones(cells.num_rows, np.bool_)
        kept[np.asarray(without, np.int64)] = False
        rows = int(np.count_nonzero(kept))
        self._waiting.append(cells)
        self._kept.append(kept)
        self._rows += rows
        self.n += rows
        if self._rows >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            # In one piece, all excluded rows are dropped at once, and Parquet has less to do.
            cells = pa.Table.from_batches(self._waiting, FILE_SCHEMA).combine_chunks()
            self._waiting.clear()
            kept = pa.array(np.concatenate(self._kept))
            self._writer.write_table(cells.filter(kept), row_group_size=2 * ROW_GROUP)
        self._waiting, self._kept, self._rows = [], [], 0

    def __enter__(self) -> CellWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def of_class(cells: pa.Table, *names: str) -> Bool:
    """bool[cell]: whether each cell's class is one of `names`."""
    classes = cells["class"].combine_chunks()
    return np.asarray(pc.is_in(classes, pa.array(names, pa.string())).to_numpy(zero_copy_only=False))
