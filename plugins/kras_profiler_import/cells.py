"""A file of cells -> a SemanticMap in the store: streamed twice, so that memory does not grow with cells."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from kras_plugins import CELL_CLASSES, CELL_COLUMNS, SemanticMap, SlideError, SlideRef, TileSpec, note
from kras_plugins.cohort.numbers import UNKNOWN, number, short
from kras_plugins.data import TileGrid
from kras_plugins.semantics.cells import FILE_SCHEMA, CellWriter, cell_batch
from kras_plugins.semantics.map import CELLS, FACTS, TissueCanvas, finish_map, read_map
from kras_plugins.semantics.raster import PIXEL_UM, raster_over
from kras_plugins.store import Store, file_sha256, make_key
from kras_profiler_import import IGNORE
from kras_profiler_import.checks import check_left_out, check_place, check_resolution, check_scale, level0_per_pixel
from kras_profiler_import.chunk import Chunk, Region, Source
from kras_profiler_import.classes import UNCLASSIFIED, can_give, cell_classes, pattern_classes, tissue_classes
from kras_profiler_import.documents import open_json
from kras_profiler_import.locate import locate
from kras_profiler_import.regions import EPITHELIUM, near_cells, paint, paint_patterns
from kras_profiler_import.shapes import measure, outer, rounded, scaled
from kras_profiler_import.tables import open_csv, open_parquet, open_regions

if TYPE_CHECKING:
    from kras_plugins.data import Bool, UInt8
    from kras_plugins.semantics.raster import Raster
    from kras_profiler_import import ImportOptions

RESULT = 4
"""Raised when the same file and options give another map."""

_RAW = "raw.parquet"
_SAMPLE = 20_000
_DAMAGE = (OSError, EOFError, zlib.error, pa.ArrowException, shapely.errors.ShapelyError)
"""What a damaged file may raise while it is read."""
NOTES = "notes.json"
"""Beside a map in the store: notes for every study that uses it."""


def load_map(slide: SlideRef, options: ImportOptions) -> SemanticMap:
    """The map of a slide's cell file; a folder that `kras profile` wrote is read as it is.

    Raises SlideError where the file is missing, empty, broken or its coordinates cannot be the slide's; ConfigError
    where classes have no meaning here.
    """
    file = locate(slide, options.cells, "cells")
    if (file / FACTS).is_file():
        found = read_map(file, slide.slide_id)
        if found.tissue_mpp != PIXEL_UM:
            note(
                f"{file}: its tissue has pixels of {found.tissue_mpp:g} µm, those of other slides {PIXEL_UM:g} µm, on "
                "which margins are longer; profile the slide again to compare"
            )
        return found
    annotated = None if options.tissue is None else locate(slide, options.tissue, "tissue")
    size = _size(slide, options)
    key = make_key(
        "imported-map",
        files=[file_sha256(f) for f in (file, annotated) if f is not None],
        options=options.result_affecting(),
        mpp=slide.mpp,
        size=size,
        version=RESULT,
    )

    def build(folder: Path) -> None:
        _build(folder, slide, options, file, annotated, size)

    made = Store().make(key, build)
    for text in json.loads((made / NOTES).read_text(encoding="utf-8")) if (made / NOTES).is_file() else ():
        note(text)  # each time: a study that finds the map in the store gets the same notes as the one that made it
    return read_map(made, slide.slide_id)


def _size(slide: SlideRef, options: ImportOptions) -> tuple[float, float] | None:
    """The slide's (width, height) in level-0 pixels from the cohort's free columns, else from the options."""
    width, height = (_side(slide, options, name) for name in ("width", "height"))
    return None if width is None or height is None else (width, height)


def _side(slide: SlideRef, options: ImportOptions, name: str) -> float | None:
    text = slide.extra.get(name, "")
    if text.lower() in UNKNOWN:
        told: int | None = getattr(options, name)
        return told
    found = number(text)
    if found is None or found <= 0:
        raise SlideError(
            f"slide {slide.slide_id}: {name} is not a number of pixels: {short(text)}",
            "give level-0 pixels, or leave it empty",
        )
    return found


def _open(file: Path, options: ImportOptions) -> Source:
    name = file.name.lower()
    try:
        if name.endswith((".parquet", ".geoparquet")):
            return open_parquet(file, options)
        if name.removesuffix(".gz").endswith((".csv", ".tsv", ".txt")):
            return open_csv(file, options)
        return open_json(file)
    except (*_DAMAGE, ValueError) as e:
        raise _damaged(file, e) from e


def _damaged(file: Path, error: Exception) -> SlideError:
    return SlideError(f"{file}: damaged, or cannot be read: {' '.join(str(error).split())}", "copy or export it again")


@dataclass
class _Read:
    """What the first pass found: counts of names, annotations, columns with values, outlines that were repaired.

    `ratios`: stated over measured areas of some nuclei.
    """

    counts: Counter[str] = field(default_factory=Counter)
    regions: list[Region] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    mended: int = 0
    ratios: list[float] = field(default_factory=list)


def _build(
    folder: Path,
    slide: SlideRef,
    options: ImportOptions,
    file: Path,
    annotated: Path | None,
    size: tuple[float, float] | None,
) -> None:
    source = _open(file, options)
    mpp = slide.mpp or source.mpp or options.mpp
    if mpp is None:
        raise SlideError(
            f"slide {slide.slide_id}: neither cohort nor {file} states how many micrometers wide a pixel is",
            "give the cohort a column `mpp`, or -o profiler.import.mpp=0.25",
        )
    factor = _pixels(source, options, mpp, file)
    read = _first_pass(folder, source, file, mpp, factor)
    told = check_left_out(str(file), source.left_out, read.counts.total() + len(read.regions))
    regions = [_in_um(region, factor * mpp) for region in read.regions]
    if annotated is not None:
        apart, more = _annotations(annotated, options, mpp)
        regions, told = [*regions, *apart], [*told, *more]
    if not read.counts:
        raise SlideError(
            f"{file}: contains no cells, {len(regions)} annotations",
            "export cells or detections; where cells are annotations (CellViT's GeoJSON), use the tool's JSON",
        )
    size = size or source.size
    stated = source.provides if source.provides is not None else frozenset(options.provides) or None
    counts = Counter({**dict.fromkeys(source.names, 0), **read.counts})
    # Our own exports say which classes they can give: their words are ours, whatever other tools mean by them.
    ours = {name: name for name in CELL_CLASSES if name in (source.provides or ())}
    mapped, more = cell_classes(str(file), counts, {**ours, **options.classes}, options.vocabulary)
    told += more
    _second_pass(folder, mapped)
    table = pq.read_table(folder / CELLS, columns=["x_px", "y_px", "area_um2"])
    xy = np.stack([table["x_px"].to_numpy(), table["y_px"].to_numpy()], 1).astype(np.float64)
    if not len(xy):
        raise SlideError(f"{file}: every cell is of a class that is ignored", "map at least one class to one of ours")
    trusted = options.units is not None or source.units is not None
    told += check_resolution(str(file), source.mpp, mpp, options.units is not None)
    told += check_scale(str(file), read.ratios, mpp, options.units is not None)
    told += check_place(str(file), xy, table["area_um2"].to_numpy().astype(np.float64), mpp, size, trusted)

    patterns = pattern_classes({r.name for r in regions}, options)
    grown = [r for r in regions if r.name in patterns]
    regions = [r for r in regions if r.name not in patterns]
    words = tissue_classes(str(annotated or file), Counter(r.name for r in regions), options.tissue_classes)
    bounds = [xy.max(0) * mpp, *(r.geometry.bounds[2:] for r in regions)]
    extent = np.array(size) * mpp if size is not None else np.max(bounds, axis=0) + mpp
    raster = raster_over(float(extent[0]), float(extent[1]))
    canvas = TissueCanvas(raster)
    canvas.paste(paint(regions, words, raster, str(file)))
    tissue = near_cells(xy * mpp, raster) if canvas.drawn is None else canvas.drawn > 0
    cells = frozenset(can_give(list(counts), mapped, options.classes, options.vocabulary))
    if stated is not None:
        cells = stated - EPITHELIUM
    provides = cells | (frozenset(words.values()) - {IGNORE, "other"}) | read.columns
    if frozenset(words.values()) >= EPITHELIUM:
        provides |= EPITHELIUM
    (folder / NOTES).write_text(
        json.dumps(_notes(slide, file, read, told, bool(regions))), encoding="utf-8", newline="\n"
    )
    pattern = paint_patterns(grown, patterns, raster)
    _finish(folder, slide, canvas, tissue, pattern, mpp, provides, file)


def _finish(
    folder: Path,
    slide: SlideRef,
    canvas: TissueCanvas,
    tissue: Bool,
    pattern: UInt8 | None,
    mpp: float,
    provides: frozenset[str],
    file: Path,
) -> None:
    raster: Raster = canvas.raster
    size_um = (raster.shape[1] * raster.mpp, raster.shape[0] * raster.mpp)
    one = TileGrid(  # the whole slide counts as looked at: only whoever made the file could know better
        spec=TileSpec(px=1, mpp=mpp),
        xy=np.zeros((1, 2), np.int32),
        size=(size_um[0] / mpp, size_um[1] / mpp),
        tissue=np.ones(1, np.float32),
    )
    finish_map(
        folder,
        slide_id=slide.slide_id,
        canvas=canvas,
        tissue_mask=tissue,
        size_um=size_um,
        grid=one,
        mpp=(mpp, mpp),
        provides=provides,
        source=f"import/{'.'.join(file.name.lower().removesuffix('.gz').rsplit('.', 1)[1:]) or 'file'}",
        ce_source="import",
        pattern=pattern,
    )


def _in_um(region: Region, factor: float) -> Region:
    return replace(region, geometry=shapely.transform(region.geometry, lambda xy: xy * factor))


def _annotations(file: Path, options: ImportOptions, mpp: float) -> tuple[list[Region], list[str]]:
    """The annotations of a separate file, in µm, and notes on it."""
    source = open_regions(file) if file.suffix == ".parquet" else _open(file, options)
    um = _pixels(source, options, mpp, file) * mpp
    try:
        found = [_in_um(item, um) for item in source.items if isinstance(item, Region) and _placed(item, source)]
    except _DAMAGE as e:
        raise _damaged(file, e) from e
    return found, [f"{file.name}: {text}" for text in check_left_out(str(file), source.left_out, len(found))]


def _placed(region: Region, source: Source) -> bool:
    """Whether an annotation lies somewhere; one that does not is counted."""
    there = bool(np.isfinite(shapely.get_coordinates(region.geometry)).all()) and not region.geometry.is_empty
    source.left_out.nowhere += not there
    return there


def _pixels(source: Source, options: ImportOptions, mpp: float, file: Path) -> float:
    """Level-0 pixels per unit of the file, as stated by the user, else by the file."""
    units = options.units or source.units or "px"
    if options.units is None and source.magnification is not None:
        return level0_per_pixel(str(file), source.magnification, mpp)
    return 1.0 if units == "px" else 1 / mpp if units == "um" else float(units) / mpp


def _first_pass(folder: Path, source: Source, file: Path, mpp: float, factor: float) -> _Read:
    """Everything but the meaning of classes: places, outlines and measurements, with the file's own class names."""
    read = _Read()
    try:
        with CellWriter(folder / _RAW) as writer:
            for item in source.items:
                if isinstance(item, Region):
                    if _placed(item, source):
                        read.regions.append(item)
                    continue
                names, batch = _batch(item, mpp, factor, read)
                source.left_out.nowhere += len(item.names) - len(names)
                if not names:
                    continue
                writer.write(batch)
                read.counts.update(names)
                read.columns |= {name for name in CELL_COLUMNS if batch.column(name).null_count < batch.num_rows}
    except _DAMAGE as e:
        raise _damaged(file, e) from e
    return read


def _batch(chunk: Chunk, mpp: float, factor: float, read: _Read) -> tuple[list[str], pa.RecordBatch]:
    """A chunk in level-0 pixels and µm, with the file's class names: these names and its rows; `read` is updated.

    Cells that have neither a position nor an outline with an area are left out.
    """
    n = len(chunk.names)
    xy = chunk.xy * factor
    columns = {name: np.array(values, np.float64) for name, values in chunk.columns.items()}
    wkb = np.full(n, None, dtype=object)
    if chunk.outlines is not None:
        shapes, mended = outer(scaled(chunk.outlines, factor))
        read.mended += mended
        there = np.flatnonzero(~shapely.is_missing(shapes))
        if len(there):
            centers, shape = measure(shapes[there], mpp)
            wkb[there] = shapely.to_wkb(rounded(shapes[there]), byte_order=1)
            free = np.isnan(xy[there, 0])
            xy[there[free]] = centers[free]
            if chunk.nuclear is not None:
                keep = chunk.nuclear[there]
                there, shape = there[keep], {name: column[keep] for name, column in shape.items()}
            for name, column in shape.items():
                given = columns.setdefault(name, np.full(n, np.nan))
                if name == "area_um2" and len(read.ratios) < _SAMPLE:
                    known = given[there] > 0
                    read.ratios += (given[there][known] / column[known]).tolist()
                given[there] = np.where(np.isnan(given[there]), column, given[there])
    kept = np.flatnonzero(np.isfinite(xy).all(1))
    names, xy = [chunk.names[row] or UNCLASSIFIED for row in kept.tolist()], xy[kept]
    values = {name: column[kept] for name, column in columns.items()}
    values |= {"x_px": xy[:, 0], "y_px": xy[:, 1], "x_um": xy[:, 0] * mpp, "y_um": xy[:, 1] * mpp}
    return names, cell_batch(names, values, wkb[kept].tolist())


def _second_pass(folder: Path, mapped: Mapping[str, str]) -> None:
    """`raw.parquet` with our class names, ignored cells left out, as `cells.parquet`."""
    names = pa.array(list(mapped), pa.string())
    words = pa.array([None if word == IGNORE else word for word in mapped.values()], pa.string())
    at = FILE_SCHEMA.get_field_index("class")
    with CellWriter(folder / CELLS) as writer:
        for batch in _batches(folder / _RAW):
            classes = words.take(pc.index_in(batch.column("class"), names))
            batch = batch.set_column(at, FILE_SCHEMA.field(at), classes)
            writer.write(batch.filter(pc.is_valid(classes)) if classes.null_count else batch)
    (folder / _RAW).unlink()


def _batches(file: Path) -> Iterable[pa.RecordBatch]:
    with pq.ParquetFile(file) as raw:
        yield from raw.iter_batches(16_384)


def _notes(slide: SlideRef, file: Path, read: _Read, told: Sequence[str], annotated: bool) -> list[str]:
    notes = [f"slide {slide.slide_id}: {text.removeprefix(f'{file}: ')}" for text in told]
    if read.mended:
        some = f"{read.mended:,} of {read.counts.total():,} outlines in {file.name}"
        notes.append(f"slide {slide.slide_id}: {some} cross themselves; repaired")
    if not annotated:
        notes.append("cells without annotated tissue: tissue is assumed where cells are")  # reported once per cohort
    return notes
