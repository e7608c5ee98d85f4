"""Cells as GeoJSON in level-0 pixels, as QuPath opens it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from kras_plugins.semantics import wkb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kras_plugins.data import SemanticMap

COLORS = {
    "tumor": (200, 0, 0), "lymphocyte": (0, 160, 60), "plasma": (120, 200, 60), "macrophage": (230, 140, 0),
    "neutrophil": (240, 220, 0), "eosinophil": (255, 120, 120), "fibroblast": (0, 110, 220),
    "endothelial": (0, 190, 210), "epithelial": (240, 150, 190), "mitosis": (150, 0, 200), "other": (130, 130, 130),
}  # fmt: skip
"""Red, green and blue of each cell class, for pictures too."""

_COLUMNS = ["x_px", "y_px", "class", "prob"]


def write_cells_geojson(semantic: SemanticMap, path: Path) -> None:
    """Write a FeatureCollection of detections: polygons where there are outlines, else points.

    One feature a line, written as they are read, so that memory does not grow with the number of cells.
    """
    with path.open("w", encoding="utf-8", newline="\n") as f:
        f.write('{"type":"FeatureCollection","features":[')
        for i, cell in enumerate(_cells(semantic)):
            f.write(("," if i else "") + "\n" + json.dumps(_feature(cell), separators=(",", ":")))
        f.write("\n]}\n")


def _cells(semantic: SemanticMap) -> Iterator[dict[str, Any]]:
    batches: Iterator[pa.RecordBatch]
    if semantic.outlines is None:
        batches = iter(semantic.cells.select(_COLUMNS).to_batches(max_chunksize=16_384))
    else:
        batches = pq.ParquetFile(semantic.outlines).iter_batches(16_384, columns=[*_COLUMNS, "geometry"])
    for batch in batches:
        yield from batch.to_pylist()


def _feature(cell: dict[str, Any]) -> dict[str, Any]:
    outline = cell.get("geometry")
    geometry: dict[str, Any]
    if outline is None:
        geometry = {"type": "Point", "coordinates": [round(cell["x_px"], 2), round(cell["y_px"], 2)]}
    else:
        ring = wkb.decode(outline).tolist()
        geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    properties: dict[str, Any] = {
        "objectType": "detection",
        "classification": {"name": cell["class"], "color": COLORS[cell["class"]]},
    }
    if cell["prob"] is not None:
        properties["measurements"] = {"prob": round(cell["prob"], 4)}
    return {"type": "Feature", "geometry": geometry, "properties": properties}
