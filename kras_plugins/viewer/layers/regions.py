"""Layer `regions`: cancer epithelium, stroma and the other tissue classes of a semantic map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import TISSUE_CLASSES
from kras_plugins.semantics.export import analysed_tissue
from kras_plugins.semantics.geojson import TISSUE_COLORS, tissue_geojson
from kras_plugins.viewer.layers.frame import Frame
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.layers.palette import hex_of, painted, shown, table
from kras_plugins.viewer.layers.raster import ClassRaster

if TYPE_CHECKING:
    from kras_plugins.data import SemanticMap, UInt8
    from kras_plugins.viewer.geometry import Box

_RGBA = table([None, *(TISSUE_COLORS[name] for name in TISSUE_CLASSES[1:])])
_SOURCES = {
    "model": "as the profiler's network found them",
    "import": "as they were imported",
    "density": "derived from the density of tumor cells",
}


@dataclass(frozen=True, eq=False)
class RegionsLayer:
    """Tissue classes of a map over a slide of `mpp` µm per level-0 pixel (x, y)."""

    semantic: SemanticMap
    mpp: tuple[float, float]

    id = "regions"
    label = "Epithelium and stroma"
    unit = "mm²"

    @property
    def note(self) -> str:
        """Where the classes come from."""
        source = _SOURCES.get(self.semantic.ce_source, self.semantic.ce_source)
        return f"Cancer epithelium and stroma {source}."

    @cached_property
    def legend(self) -> tuple[Entry, ...]:
        """The classes present, with their areas in mm²."""
        areas = (
            np.bincount(self._raster.codes.ravel(), minlength=len(TISSUE_CLASSES)) * self.semantic.tissue_mpp**2 / 1e6
        )
        return tuple(
            Entry(name, name.replace("_", " "), hex_of(TISSUE_COLORS[name]), round(area, 3))
            for name, area in zip(TISSUE_CLASSES[1:], areas[1:].tolist(), strict=True)
            if area > 0
        )

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> UInt8:
        """The class of each pixel's center."""
        codes = self._raster.at(*Frame.of(box, size).centers())
        return painted(codes, shown(_RGBA, TISSUE_CLASSES, keys))

    def at(self, x: float, y: float) -> str | None:
        """The name of the class at a point in level-0 pixels, None in background."""
        code = int(self._raster.at(np.array([x]), np.array([y]))[0, 0])
        return TISSUE_CLASSES[code].replace("_", " ") if code else None

    def geojson(self) -> Iterator[bytes]:
        """The polygons of each class, as `kras profile` writes them."""
        return (piece.encode() for piece in tissue_geojson(self.semantic, self.mpp))

    @cached_property
    def analyzed(self) -> ClassRaster:
        """1 where the profiler looked."""
        return replace(self._raster, codes=self.semantic.analysed.astype(np.uint8))

    @cached_property
    def _raster(self) -> ClassRaster:
        um, (x, y) = self.semantic.tissue_mpp, self.semantic.origin_um
        return ClassRaster(
            codes=analysed_tissue(self.semantic),
            step=(um / self.mpp[0], um / self.mpp[1]),
            origin=(x / self.mpp[0], y / self.mpp[1]),
        )
