"""A SemanticMap on disk: `cells.parquet` (with outlines), `tissue.h5`, `facts.json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kras_plugins.data import CELL_COLUMNS, GROWTH_PATTERNS, TISSUE_CLASSES, SemanticMap
from kras_plugins.errors import StoreError
from kras_plugins.semantics.cells import FILE_SCHEMA, CellWriter, of_class
from kras_plugins.semantics.epithelium import EPITHELIUM, OTHER, STROMA, density_tissue
from kras_plugins.semantics.raster import Patch, Raster, covered, resample_mask

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, TileGrid, UInt8

CELLS, TISSUE, FACTS = "cells.parquet", "tissue.h5", "facts.json"
_EPITHELIUM = frozenset({"cancer_epithelium", "cancer_stroma"})
_CANCER = (EPITHELIUM, STROMA)
MOST_UNLIKE = 0.25
"""If a larger share of a slide's tissue is unlike training, no part of it counts as cancer. This is five times the
share that a profiler's limit should leave on tissue like its training tissue."""
PEN_REACH_UM = 160.0
"""Tissue this near a pen mark is not judged: features are averaged over 160 µm and also see their surroundings, so that
there they measure how unlike ink is (plugins/kras_profiler_cells/unlike.py)."""


@dataclass
class TissueCanvas:
    """Collects on a slide's raster what its profiler gives for tiles, if anything: tissue, and where it is unlike."""

    raster: Raster
    drawn: UInt8 | None = field(default=None, init=False)
    unlike: Bool | None = field(default=None, init=False)

    def paste(self, patch: Patch | None) -> None:
        """Add one tile's tissue."""
        if patch is not None and patch.tissue is not None:
            if self.drawn is None:
                self.drawn = np.zeros(self.raster.shape, np.uint8)
            _paste(self.drawn, patch, patch.tissue)
        if patch is not None and patch.unlike is not None:
            if self.unlike is None:
                self.unlike = np.zeros(self.raster.shape, np.bool_)
            _paste(self.unlike, patch, patch.unlike)


def _paste(on: npt.NDArray[Any], patch: Patch, values: npt.NDArray[Any]) -> None:
    height, width = values.shape
    on[patch.row : patch.row + height, patch.column : patch.column + width] = values


def finish_map(
    folder: Path,
    *,
    slide_id: str,
    canvas: TissueCanvas,
    tissue_mask: Bool,
    size_um: tuple[float, float],
    grid: TileGrid,
    mpp: tuple[float, float],
    provides: frozenset[str],
    source: str,
    pen: Bool | None = None,
    ce_source: str = "model",
    pattern: UInt8 | None = None,
    field: bool = False,
) -> None:
    """Complete a map whose `cells.parquet` a CellWriter has filled.

    `tissue_mask`, `pen`: bool[h w] over the whole slide of `size_um` (width, height); `grid`: the tiles looked at;
    `mpp`: µm per level-0 pixel. Cancer epithelium is the profiler's if `provides` includes it, and `ce_source` says
    where from; else it comes from tumor density and `ce_source` is `density`. `pattern`: growth patterns on the canvas'
    raster.
    `field`: the slide is a field of view, whose edge cuts what is on it. Neither counts where the canvas says that
    tissue is unlike what the profiler learned from: it is `other`, as is a whole slide if more than MOST_UNLIKE of it
    is unlike. Tissue within PEN_REACH_UM of pen is not judged and counts in no share.
    """
    raster = canvas.raster
    analysed = covered(grid, mpp, raster)
    tissue = resample_mask(tissue_mask, size_um, raster) & analysed
    if provides >= _EPITHELIUM:
        drawn = canvas.drawn if canvas.drawn is not None else np.zeros(raster.shape, np.uint8)
        classes = np.where(tissue, drawn, np.uint8(0))
    else:
        cells = pq.read_table(folder / CELLS, columns=["class", "x_um", "y_um"])
        tumor = cells.filter(pa.array(of_class(cells, "tumor")))
        x, y = (tumor[name].to_numpy() for name in ("x_um", "y_um"))
        classes, ce_source = density_tissue(x, y, tissue, raster, cut=field), "density"
        if canvas.drawn is not None:  # other classes that the profiler knows (necrosis, mucin) override derived ones
            known = tissue & (canvas.drawn != 0) & (canvas.drawn != TISSUE_CLASSES.index("other"))
            classes = np.where(known, canvas.drawn, classes)
        if "tumor" in provides:
            provides |= _EPITHELIUM
    facts: dict[str, object] = {
        "slide_id": slide_id,
        "provides": sorted(provides),
        "source": source,
        "ce_source": ce_source,
        "field": field,
    }
    if canvas.unlike is not None:
        judged = tissue & ~_near(pen, size_um, raster)
        facts["unlike_share"] = share = _share(canvas.unlike, judged)
        distrusted = canvas.unlike & judged if share <= MOST_UNLIKE else np.ones_like(judged)
        classes = np.where(distrusted & np.isin(classes, _CANCER), np.uint8(OTHER), classes)
    _write_rest(folder, classes, analysed, pattern, raster, facts)


def _near(pen: Bool | None, size_um: tuple[float, float], raster: Raster) -> Bool:
    """bool[h w] on the raster: pixels within PEN_REACH_UM of pen."""
    if pen is None or not pen.any():
        return np.zeros(raster.shape, np.bool_)
    from kras_plugins.semantics.distance import distance_to  # which compiles

    return distance_to(resample_mask(pen, size_um, raster), raster.mpp) <= PEN_REACH_UM


def _share(of: Bool, tissue: Bool) -> float:
    return round(int(np.count_nonzero(of & tissue)) / max(int(np.count_nonzero(tissue)), 1), 4)


def write_map(folder: Path, semantic: SemanticMap) -> None:
    """Write a whole map into an existing folder; outlines are copied from their file."""
    outlines = None if semantic.outlines is None else pq.ParquetFile(semantic.outlines)
    geometry = None if outlines is None else outlines.read(columns=["geometry"])["geometry"]
    if geometry is None:
        geometry = pa.nulls(semantic.cells.num_rows, pa.binary())
    table = semantic.cells.select(list(CELL_COLUMNS)).append_column("geometry", geometry).cast(FILE_SCHEMA)
    with CellWriter(folder / CELLS) as writer:
        for batch in table.to_batches(max_chunksize=16_384):
            writer.write(batch)
    height, width = semantic.tissue.shape
    raster = Raster(shape=(height, width), mpp=semantic.tissue_mpp, origin_um=semantic.origin_um)
    facts: dict[str, object] = {
        "slide_id": semantic.slide_id,
        "provides": sorted(semantic.provides),
        "source": semantic.source,
        "ce_source": semantic.ce_source,
        "field": semantic.field,
    }
    if semantic.unlike_share is not None:
        facts["unlike_share"] = semantic.unlike_share
    _write_rest(folder, semantic.tissue, semantic.analysed, semantic.pattern, raster, facts)


def copy_map(made: Path, folder: Path, slide_id: str) -> None:
    """Copy a map into an existing folder under this id; the one in the store names the slide it was first made for."""
    for name in (CELLS, TISSUE):
        shutil.copyfile(made / name, folder / name)
    facts = json.loads((made / FACTS).read_text(encoding="utf-8"))
    _write_facts(folder, {**facts, "slide_id": slide_id})


def _write_facts(folder: Path, facts: Mapping[str, object]) -> None:
    (folder / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8", newline="\n")


def _write_rest(
    folder: Path, tissue: UInt8, analysed: Bool, pattern: UInt8 | None, raster: Raster, facts: Mapping[str, object]
) -> None:
    with h5py.File(folder / TISSUE, "w", libver=("earliest", "v110")) as f:
        f.create_dataset("tissue", data=tissue, compression="gzip", compression_opts=4)
        f.create_dataset("analysed", data=analysed, compression="gzip", compression_opts=4)
        if pattern is not None:
            f.create_dataset("pattern", data=pattern, compression="gzip", compression_opts=4)
            f.attrs["patterns"] = list(GROWTH_PATTERNS)
        f.attrs["mpp"] = raster.mpp
        f.attrs["origin_um"] = raster.origin_um
        f.attrs["classes"] = list(TISSUE_CLASSES)
    _write_facts(folder, facts)


def read_map(folder: Path, slide_id: str | None = None) -> SemanticMap:
    """Read what `write_map` or `finish_map` wrote; `slide_id` renames it. Raises StoreError when it is damaged."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with h5py.File(folder / TISSUE, "r") as f:
            tissue, analysed = f["tissue"][:], f["analysed"][:].astype(bool)
            pattern = f["pattern"][:] if "pattern" in f else None
            mpp, origin = float(f.attrs["mpp"]), f.attrs["origin_um"]
        file = pq.ParquetFile(folder / CELLS)
        cells = file.read(columns=list(CELL_COLUMNS)).replace_schema_metadata(None)
        return SemanticMap(
            slide_id=slide_id or facts["slide_id"],
            cells=cells,
            tissue=tissue,
            analysed=analysed,
            origin_um=(float(origin[0]), float(origin[1])),
            tissue_mpp=mpp,
            provides=frozenset(facts["provides"]),
            source=facts["source"],
            ce_source=facts["ce_source"],
            outlines=folder / CELLS if has_outlines(folder / CELLS) else None,
            pattern=pattern,
            field=bool(facts.get("field", False)),
            unlike_share=facts.get("unlike_share"),
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as e:
        raise StoreError(f"{folder}: not a complete semantic map: {e}", "remove it and run again") from e


def unlike_share(folder: Path) -> float | None:
    """The share of a map's tissue that is unlike what its profiler learned from, None if the profiler gives none."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return None if facts.get("unlike_share") is None else float(facts["unlike_share"])


def has_outlines(cells: Path) -> bool:
    """Whether a `cells.parquet` has the outline of any cell."""
    with pq.ParquetFile(cells) as file:
        column = file.schema_arrow.get_field_index("geometry")
        groups = (file.metadata.row_group(i).column(column) for i in range(file.metadata.num_row_groups))
        return column >= 0 and any(g.statistics is None or g.statistics.null_count < g.num_values for g in groups)
