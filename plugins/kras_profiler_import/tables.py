"""Cells from CSV (HALO, Visiopharm, QuPath's measurement export) and from Parquet (ours, GeoParquet)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from kras_plugins import SlideError
from kras_plugins.cohort.delimited import delimiter_of, naming_damage
from kras_plugins.cohort.number_columns import Marks, count_marks
from kras_plugins.files.regular import STREAMED, open_unpacked
from kras_profiler_import.chunk import CELLS_AT_ONCE, Chunk, Region, Source
from kras_profiler_import.columns import FIRST_ROW, MEASURABLE, Layout, OneImage, chunk_of, resolve, with_numbers
from kras_profiler_import.shapes import from_wkb

if TYPE_CHECKING:
    from kras_profiler_import import ImportOptions

_BLOCK = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a CSV file is written: its headers, `encoding` and `delimiter`; inferring the decimal mark takes all rows."""

    headers: list[str]
    encoding: str
    delimiter: str

    def read_options(self) -> pyarrow.csv.ReadOptions:
        """For pyarrow; the header line has already been read."""
        return pyarrow.csv.ReadOptions(
            block_size=_BLOCK, encoding=self.encoding, column_names=self.headers, skip_rows=1, use_threads=False
        )


def find_dialect(file: Path) -> Dialect:
    """The dialect from a file's first two lines; SlideError if it has no row, is damaged, or is not text of bytes."""
    with naming_damage(file, SlideError), opened(file) as f, io.TextIOWrapper(f, "latin-1") as lines:
        first, second = (line.encode("latin-1") for line in (lines.readline(), lines.readline()))
    if b"\0" in first:
        raise SlideError(
            f"{file}: contains NUL bytes: it is UTF-16, or not text", "save it as UTF-8 (in Excel: CSV UTF-8)"
        )
    try:
        encoding, header = "utf8", first.decode("utf-8-sig")
    except UnicodeDecodeError:
        encoding, header = "latin1", first.decode("latin1")  # HALO on Windows, for the µ of its headers
    if not header.strip() or not second.strip():
        raise SlideError(f"{file}: contains a header at most, no rows", "export it again")
    delimiter = delimiter_of(header)
    try:
        headers = next(csv.reader([header.strip("\r\n")], delimiter=delimiter))
    except csv.Error as e:
        raise SlideError(f"{file}: header: {e}", "export it again") from e
    return Dialect(headers=headers, encoding=encoding, delimiter=delimiter)


def opened(file: Path, most: int = STREAMED) -> IO[bytes]:
    """A file for reading, decompressed if it is gzip; reading raises SlideError after more than `most` bytes."""
    return open_unpacked(file, most, SlideError)


def check_quotes(file: Path) -> None:
    """Raise SlideError if a quotation mark is not closed: all rows below would be one cell."""
    with naming_damage(file, SlideError), opened(file) as f:
        if sum(block.count(b'"') for block in iter(lambda: f.read(_BLOCK), b"")) % 2:
            raise SlideError(f"{file}: a quotation mark is not closed", "correct it, or remove all of them")


def open_csv(file: Path, options: ImportOptions) -> Source:
    """Stream a table of cells; its delimiter and encoding are found from its first lines, its decimal mark from all."""
    dialect = find_dialect(file)
    layout = resolve(str(file), dialect.headers, options.columns, None)
    return Source(items=_csv_rows(file, layout, dialect), units=layout.units)


def _csv_rows(file: Path, layout: Layout, dialect: Dialect) -> Iterator[Chunk]:
    check_quotes(file)
    marks = Marks()
    for batch in _csv_batches(file, dialect, layout.numbers):
        marks = sum(map(count_marks, batch.columns), marks)
    one, row = OneImage(str(file)), FIRST_ROW
    for batch in _csv_batches(file, dialect, [*layout.numbers, *layout.texts]):
        if layout.image is not None:
            one.check(batch.column(layout.image))
        yield chunk_of(with_numbers(batch, layout, str(file), row, marks.decimal(dialect.delimiter)), layout)
        row += batch.num_rows


def _csv_batches(file: Path, dialect: Dialect, headers: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns as texts, null where missing."""
    wanted = list(dict.fromkeys(headers))
    with naming_damage(file, SlideError), opened(file) as f:
        yield from pyarrow.csv.open_csv(
            f,
            read_options=dialect.read_options(),
            parse_options=pyarrow.csv.ParseOptions(delimiter=dialect.delimiter),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=True
            ),
        )


def open_parquet(file: Path, options: ImportOptions) -> Source:
    """Stream a Parquet table of cells: the host's own cells.parquet, GeoParquet with polygons or points, or x and y."""
    parquet = pq.ParquetFile(file)
    schema = parquet.schema_arrow
    if {"x_px", "y_px", "class"} <= set(schema.names) and not options.columns:
        _check_numbers(file, schema, ("x_px", "y_px", *(name for name in MEASURABLE if name in schema.names)))
        return Source(items=_own(parquet), mpp=_own_mpp(parquet), units="px")
    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    geometry = geo.get("primary_column") or ("geometry" if "geometry" in schema.names else None)
    layout = resolve(str(file), schema.names, options.columns, geometry)
    _check_numbers(file, schema, (*layout.places.values(), *layout.measured.values()))
    return Source(items=_rows(parquet, layout, str(file)), units=layout.units)


def _check_numbers(file: Path, schema: pa.Schema, names: Iterable[str]) -> None:
    """Raise SlideError where a column of numbers is one of truth values, which would count as 0 and 1."""
    for name in names:
        if pa.types.is_boolean(schema.field(name).type):
            raise SlideError(f"{file}: column {name!r} holds truth values, not numbers", "export it again")


def open_regions(file: Path) -> Source:
    """Every row of a GeoParquet file as one region."""
    parquet = pq.ParquetFile(file)
    layout = resolve(str(file), parquet.schema_arrow.names, {}, "geometry")

    def regions() -> Iterator[Region]:
        for batch in parquet.iter_batches(CELLS_AT_ONCE, columns=[*layout.classes, "geometry"]):
            names = batch.column(layout.classes[0]).to_pylist()
            shapes = from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
            yield from (Region(name=str(n), geometry=g) for n, g in zip(names, shapes, strict=True) if g is not None)

    return Source(items=regions())


def _rows(parquet: pq.ParquetFile, layout: Layout, file: str) -> Iterator[Chunk]:
    names = dict.fromkeys([*layout.numbers, *layout.texts, *([layout.geometry] if layout.geometry else [])])
    one, row = OneImage(file), FIRST_ROW
    for batch in parquet.iter_batches(CELLS_AT_ONCE, columns=list(names)):
        if layout.image is not None:
            one.check(batch.column(layout.image))
        yield chunk_of(with_numbers(batch, layout, file, row), layout)
        row += batch.num_rows


def _own(parquet: pq.ParquetFile) -> Iterator[Chunk]:
    names = parquet.schema_arrow.names
    kept = [name for name in MEASURABLE if name in names]
    wanted = ["x_px", "y_px", "class", *kept, *(["geometry"] if "geometry" in names else [])]
    for batch in parquet.iter_batches(CELLS_AT_ONCE, columns=wanted):
        rows: Mapping[str, pa.Array] = {name: batch.column(name) for name in wanted}
        numbers = {
            name: np.asarray(rows[name].to_numpy(zero_copy_only=False), np.float64) for name in ("x_px", "y_px", *kept)
        }
        outlines = None
        if "geometry" in wanted:
            outlines = from_wkb(rows["geometry"].to_numpy(zero_copy_only=False))
        yield Chunk(
            names=rows["class"].to_pylist(),
            xy=np.stack([numbers.pop("x_px"), numbers.pop("y_px")], 1),
            outlines=outlines,
            columns=numbers,
        )


def _own_mpp(parquet: pq.ParquetFile) -> float | None:
    if "x_um" not in parquet.schema_arrow.names or not parquet.metadata.num_rows:
        return None
    batch = next(parquet.iter_batches(CELLS_AT_ONCE, columns=["x_um", "x_px"]))
    px, um = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("x_px", "x_um"))
    far = int(px.argmax())
    return float(um[far] / px[far]) if px[far] > 0 else None
