"""Annotations -> rasters of tissue and of growth patterns; without any, tissue is where cells are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from kras_plugins import TISSUE_CLASSES, SlideError
from kras_plugins.data import GROWTH_PATTERNS
from kras_plugins.semantics.distance import distance_to
from kras_plugins.semantics.polygons import fill
from kras_plugins.semantics.raster import Patch
from kras_profiler_import import IGNORE

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, UInt8
    from kras_plugins.semantics.raster import Raster
    from kras_profiler_import.chunk import Region

EPITHELIUM = frozenset({"cancer_epithelium", "cancer_stroma"})
REACH_UM, MARGIN_UM = 50.0, 10.0
"""Gaps between cells under twice 50 µm are tissue (stroma is that sparse), which ends 10 µm beyond the cells."""


def paint(regions: Sequence[Region], words: Mapping[str, str], raster: Raster, file: str) -> Patch | None:
    """Tissue classes on the whole raster from annotations in µm, smaller ones over larger; None without any.

    `words`: tissue class of ours (or `ignore`) by annotation class. Raises SlideError if cancer epithelium is
    annotated without stroma, or vice versa.
    """
    if not regions:
        return None
    given = EPITHELIUM & set(words.values())
    if len(given) == 1:
        (one,) = given
        (other,) = EPITHELIUM - given
        named = ", ".join(f'"{name}" = "other"' for name, word in words.items() if word == one)
        raise SlideError(
            f"{file}: annotations give {one} but no {other}",
            f"annotate both; or use these regions only as tissue, and derive epithelium from the density of tumor "
            f"cells: -o 'profiler.import.tissue_classes={{ {named} }}'",
        )
    numbers = {name: 0 if word == IGNORE else TISSUE_CLASSES.index(word) for name, word in words.items()}
    return Patch(row=0, column=0, tissue=_draw(regions, numbers, raster))


def paint_patterns(regions: Sequence[Region], words: Mapping[str, str], raster: Raster) -> UInt8 | None:
    """Growth patterns uint8[h w] (indices into GROWTH_PATTERNS) of annotations in µm; None without any.

    `words`: pattern by annotation class.
    """
    numbers = {name: GROWTH_PATTERNS.index(word) for name, word in words.items()}
    return _draw(regions, numbers, raster) if regions else None


def _draw(regions: Sequence[Region], numbers: Mapping[str, int], raster: Raster) -> UInt8:
    """The number of each region's name on its pixels, smaller regions over larger."""
    drawn = np.zeros(raster.shape, np.uint8)
    shapes = [shapely.make_valid(region.geometry) for region in regions]
    for i in np.argsort([-shape.area for shape in shapes], kind="stable"):
        for polygon in _polygons(shapes[i]):
            row, column, mask = fill([shapely.get_coordinates(ring) for ring in _rings(polygon)], raster)
            drawn[row : row + mask.shape[0], column : column + mask.shape[1]][mask] = numbers[regions[i].name]
    return drawn


def _polygons(shape: Any) -> list[Any]:
    parts = [part for piece in shapely.get_parts(shape) for part in shapely.get_parts(piece)]
    return [part for part in parts if part.geom_type == "Polygon"]


def _rings(polygon: Any) -> list[Any]:
    return [polygon.exterior, *polygon.interiors]


def near_cells(xy_um: Float64, raster: Raster) -> Bool:
    """bool[h w]: cells closed by a disk of 50 µm, with a margin of 10 µm."""
    margin = int(np.ceil(REACH_UM / raster.mpp)) + 1
    cells = np.pad(raster.count(xy_um[:, 0], xy_um[:, 1]) > 0, margin)
    wide = distance_to(cells, raster.mpp) <= REACH_UM
    closed = distance_to(~wide, raster.mpp) > REACH_UM - MARGIN_UM
    return np.asarray((closed | cells)[margin:-margin, margin:-margin], dtype=np.bool_)
