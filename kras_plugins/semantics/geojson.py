"""Cells and tissue as GeoJSON in level-0 pixels, as QuPath opens it; written as it is read, so that memory is flat."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from kras_plugins.data import GROWTH_PATTERNS, TISSUE_CLASSES
from kras_plugins.semantics.polygons import trace
from kras_plugins.semantics.raster import Raster

if TYPE_CHECKING:
    from kras_plugins.data import Bool, SemanticMap

COLORS = {
    "tumor": (255, 214, 0), "lymphocyte": (0, 229, 255), "plasma": (0, 120, 255), "macrophage": (255, 120, 0),
    "neutrophil": (255, 255, 255), "eosinophil": (255, 60, 60), "fibroblast": (90, 255, 90),
    "endothelial": (0, 200, 120), "epithelial": (200, 160, 255), "mitosis": (255, 0, 255), "other": (210, 210, 210),
}  # fmt: skip
"""Red, green and blue of each cell class: light, as nuclei are dark, and the commonest apart for the color-blind."""

TISSUE_COLORS = {
    "background": (255, 255, 255), "cancer_epithelium": (170, 20, 60), "cancer_stroma": (60, 120, 190),
    "necrosis": (70, 60, 60), "normal_lung": (150, 200, 150), "lymphoid": (90, 60, 160), "mucin": (120, 210, 220),
    "vessel": (220, 90, 40), "bronchus": (200, 170, 90), "pigment": (20, 20, 20), "other": (170, 170, 170),
}  # fmt: skip
"""Red, green and blue of each tissue class."""

PATTERN_COLORS = {
    "lepidic": (120, 180, 60), "acinar": (200, 120, 40), "papillary": (150, 80, 200), "micropapillary": (220, 60, 140),
    "solid": (120, 20, 20), "mucinous": (60, 170, 190),
}  # fmt: skip
"""Red, green and blue of each growth pattern."""

_COLUMNS = ["x_px", "y_px", "class", "prob"]


def write_cells_geojson(semantic: SemanticMap, path: Path, mpp: tuple[float, float] | None = None) -> None:
    """Write `cells_geojson` into a file; `path` ending in `.gz` is compressed."""
    _write(cells_geojson(semantic, mpp), path)


def cells_geojson(semantic: SemanticMap, mpp: tuple[float, float] | None = None) -> Iterator[str]:
    """A FeatureCollection of detections, piece by piece: polygons where there are outlines, else points.

    One feature per line, yielded as they are read, so that memory does not grow with the number of cells. `mpp`: µm per
    level-0 pixel, stated for whoever imports the file again.
    """
    return _collection(semantic, mpp, _cells(semantic))


def write_tissue_geojson(semantic: SemanticMap, path: Path, mpp: tuple[float, float]) -> None:
    """Write `tissue_geojson` into a file; `path` ending in `.gz` is compressed."""
    _write(tissue_geojson(semantic, mpp), path)


def tissue_geojson(semantic: SemanticMap, mpp: tuple[float, float]) -> Iterator[str]:
    """A FeatureCollection of annotations, piece by piece: every tissue class and growth pattern, with holes.

    A raster pixel's center lies inside a polygon if and only if the pixel has its class. `mpp`: µm per level-0 pixel.
    Growth patterns are called `solid pattern` and the like.
    """
    return _collection(semantic, mpp, _polygons(semantic, mpp))


def _polygons(semantic: SemanticMap, mpp: tuple[float, float]) -> Iterator[str]:
    height, width = semantic.tissue.shape
    raster = Raster(shape=(height, width), mpp=semantic.tissue_mpp, origin_um=semantic.origin_um)
    for mask, name, color in _layers(semantic):
        for rings in trace(mask & semantic.analysed, raster):
            closed = [np.round(np.concatenate([ring, ring[:1]]) / mpp, 2).tolist() for ring in rings]
            geometry = json.dumps({"type": "Polygon", "coordinates": closed}, separators=(",", ":"))
            yield _feature(geometry, _properties("annotation", name, color) + "}")


def _layers(semantic: SemanticMap) -> Iterator[tuple[Bool, str, tuple[int, int, int]]]:
    """(pixels, name, color) of every tissue class but background, in their order, then of every growth pattern."""
    for number, name in enumerate(TISSUE_CLASSES):
        if name != "background":
            yield semantic.tissue == number, name, TISSUE_COLORS[name]
    if semantic.pattern is not None:
        for number, name in enumerate(GROWTH_PATTERNS[1:], start=1):
            yield semantic.pattern == number, f"{name} pattern", PATTERN_COLORS[name]


def slide_mpp(semantic: SemanticMap) -> tuple[float, float] | None:
    """µm per level-0 pixel (x, y) according to its cells, None where there are none."""
    if not semantic.cells.num_rows:
        return None
    um, px = ([semantic.cells[f"{axis}_{unit}"].to_numpy() for axis in "xy"] for unit in ("um", "px"))
    far = [int(np.argmax(values)) for values in px]  # farther from the corner, more digits are known
    x, y = (float(u[i] / p[i]) if p[i] > 0 else 0.0 for u, p, i in zip(um, px, far, strict=True))
    return (x, y) if x > 0 and y > 0 else None


def _collection(semantic: SemanticMap, mpp: tuple[float, float] | None, features: Iterator[str]) -> Iterator[str]:
    """The pieces of a collection; QuPath ignores the member `kras`, the profiler `import` reads it."""
    height, width = semantic.tissue.shape
    facts: dict[str, Any] = {"slide_id": semantic.slide_id, "provides": sorted(semantic.provides)}
    if mpp is not None:
        facts["mpp"] = float(np.mean(mpp))
        facts["size"] = [
            (semantic.origin_um[0] + width * semantic.tissue_mpp) / mpp[0],
            (semantic.origin_um[1] + height * semantic.tissue_mpp) / mpp[1],
        ]
    yield '{"type":"FeatureCollection","kras":' + json.dumps(facts) + ',"features":['
    for number, feature in enumerate(features):
        yield f"{',' if number else ''}\n{feature}"
    yield "\n]}\n"


def _write(pieces: Iterator[str], path: Path) -> None:
    with _opened(path) as f:
        f.writelines(pieces)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    if path.suffix != ".gz":
        with path.open("w", encoding="utf-8", newline="\n") as f:
            yield f
        return
    # Neither name nor time in the header: the same cells give the same bytes.
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=5, mtime=0) as zipped:
        with io.TextIOWrapper(zipped, encoding="utf-8", newline="\n", write_through=False) as text:
            yield text


def _cells(semantic: SemanticMap) -> Iterator[str]:
    batches: Iterator[pa.RecordBatch]
    if semantic.outlines is None:
        batches = iter(semantic.cells.select(_COLUMNS).to_batches(max_chunksize=16_384))
    else:
        batches = pq.ParquetFile(semantic.outlines).iter_batches(16_384, columns=[*_COLUMNS, "geometry"])
    begin = {name: _properties("detection", name, color) for name, color in COLORS.items()}
    for batch in batches:
        probs = batch.column("prob").to_pylist()
        for geometry, name, prob in zip(_geometries(batch), batch.column("class").to_pylist(), probs, strict=True):
            measured = "" if prob is None else f',"measurements":{{"prob":{round(prob, 4)}}}'
            yield _feature(geometry, f"{begin[name]}{measured}}}")


def _geometries(batch: pa.RecordBatch) -> list[str]:
    """GeoJSON geometries of some cells: their outlines, else points to a hundredth of a pixel."""
    points = np.round(np.stack([batch.column(name).to_numpy() for name in ("x_px", "y_px")], 1).astype(np.float64), 2)
    shapes = shapely.points(points)
    if "geometry" in batch.schema.names:
        outlines = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
        shapes = np.where(shapely.is_missing(outlines), shapes, outlines)
    return cast("list[str]", shapely.to_geojson(shapes).tolist())


def _properties(kind: str, name: str, color: tuple[int, int, int]) -> str:
    """The properties of a feature without their closing brace."""
    facts = {"objectType": kind, "classification": {"name": name, "color": color}}
    return json.dumps(facts, separators=(",", ":"))[:-1]


def _feature(geometry: str, properties: str) -> str:
    return f'{{"type":"Feature","geometry":{geometry},"properties":{properties}}}'
