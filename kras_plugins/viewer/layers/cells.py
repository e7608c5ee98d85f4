"""Layer `cells`: outlines at high magnification, dots in between, densities at low magnification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import CELL_CLASSES
from kras_plugins.semantics.geojson import COLORS, cells_geojson
from kras_plugins.semantics.map import CELLS, has_outlines, read_map
from kras_plugins.viewer.geometry import Box
from kras_plugins.viewer.layers.cell_index import CellIndex
from kras_plugins.viewer.layers.density import DENSITY_UM, Density
from kras_plugins.viewer.layers.dots import draw_disks
from kras_plugins.viewer.layers.frame import Frame
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.layers.outlines import Outlines, draw_outlines
from kras_plugins.viewer.layers.palette import hex_of, table

if TYPE_CHECKING:
    from kras_plugins.data import UInt8
    from kras_plugins.viewer.geometry import Pyramid

OUTLINE_UM = 0.75
"""Pixels up to this width show outlines: a lymphocyte is then eight pixels across."""
_RGBA = table([COLORS[name] for name in CELL_CLASSES])


@dataclass(frozen=True, eq=False)
class CellsLayer:
    """The cells of a slide. `outlines`: None draws circles of their areas instead.

    `folder` of the map and `slide_id`: for export.
    """

    cells: CellIndex
    density: Density
    outlines: Outlines | None = None
    folder: Path | None = None
    slide_id: str | None = None

    id = "cells"
    label = "Cells"
    unit = "cells"

    @classmethod
    def read(cls, folder: Path, pyramid: Pyramid, slide_id: str | None = None) -> CellsLayer:
        """The cells of the map in `folder`, which `semantics/map.py` wrote."""
        cells = CellIndex.read(folder / CELLS, pyramid.size, pyramid.slide_mpp)
        outlines = Outlines(folder / CELLS) if has_outlines(folder / CELLS) else None
        return cls(cells, Density.of(cells, pyramid), outlines, folder, slide_id)

    @property
    def note(self) -> str:
        """What is drawn at which magnification."""
        near = "outlines" if self.outlines is not None else "circles of the cells' areas"
        return f"Zoomed in: {near}; farther out: dots, then the most common class by color, stronger with more cells."

    @cached_property
    def legend(self) -> tuple[Entry, ...]:
        """The classes present, with their numbers of cells."""
        counts = np.bincount(self.cells.code, minlength=len(CELL_CLASSES)).tolist()
        return tuple(
            Entry(name, name, hex_of(COLORS[name]), count)
            for name, count in zip(CELL_CLASSES, counts, strict=True)
            if count
        )

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> UInt8:
        """Cells in the form that suits the size of a pixel."""
        frame = Frame.of(box, size)
        um = self.cells.mpp[0] / frame.scale[0]
        wanted = np.array([i for i, name in enumerate(CELL_CLASSES) if keys is None or name in keys], np.uint8)
        if um >= DENSITY_UM:
            return self.density.draw(frame, _RGBA, wanted)
        near = um <= OUTLINE_UM
        found = self.cells.within(box, self.cells.reach)
        found = found[np.isin(self.cells.code[found], wanted)]
        canvas = np.zeros((size[1], size[0], 4), np.uint8)
        if near and self.outlines is not None and len(found):
            points, owners = self.outlines.rings(self.cells.row[found])
            at = np.stack(frame.pixels(*points.T), axis=1)
            canvas = draw_outlines(size, at, owners, _RGBA[self.cells.code[found]])
            lone = np.ones(len(found), np.bool_)
            lone[owners] = False
            found = found[lone]
        x, y = (values[found].astype(np.float64) for values in (self.cells.x, self.cells.y))
        radius = self.cells.radius[found].astype(np.float64) / um
        draw_disks(canvas, *frame.pixels(x, y), radius, _RGBA[self.cells.code[found]], ring=near)
        return canvas

    def at(self, x: float, y: float) -> Mapping[str, Any] | None:
        """The values of the cell at a point in level-0 pixels: the nearest whose circle is at most 2 µm away."""
        found = self.cells.within(Box(x, y, 0.0, 0.0), self.cells.reach)
        if not len(found):
            return None
        away = np.hypot((self.cells.x[found] - x) * self.cells.mpp[0], (self.cells.y[found] - y) * self.cells.mpp[1])
        beyond = away - self.cells.radius[found]
        best = int(np.argmin(beyond))
        if beyond[best] > _NEAR_UM:
            return None
        cell = found[best]
        return {
            "class": CELL_CLASSES[self.cells.code[cell]],
            "probability": _known(self.cells.probability[cell]),
            "area_um2": _known(self.cells.area[cell]),
            "distance_um": round(float(away[best]), 2),
            "xy": [round(float(self.cells.x[cell]), 2), round(float(self.cells.y[cell]), 2)],
        }

    def geojson(self) -> Iterator[bytes] | None:
        """Outlines, else points, as `kras profile` writes them."""
        if self.folder is None:
            return None
        return _exported(self.folder, self.slide_id, self.cells.mpp)


_NEAR_UM = 2.0


def _exported(folder: Path, slide_id: str | None, mpp: tuple[float, float]) -> Iterator[bytes]:
    # a generator: every page checks whether there is GeoJSON, which must not read the map
    for piece in cells_geojson(read_map(folder, slide_id), mpp):
        yield piece.encode()


def _known(value: np.float32) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
