"""Layer `tissue`: which parts of a slide were analyzed, and which were left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.semantics.polygons import trace
from kras_plugins.semantics.raster import Raster
from kras_plugins.viewer.layers.frame import Frame
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.layers.palette import hex_of, painted, shown, table
from kras_plugins.viewer.layers.raster import ClassRaster

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, UInt8
    from kras_plugins.slides.tissue import TissueMask
    from kras_plugins.viewer.geometry import Box
    from kras_plugins.viewer.layers.tiles import Tiles

ANALYZED, BLURRED, PEN, TOO_LITTLE, OUTSIDE = range(1, 6)
_KEYS = (None, "analyzed", "blurred", "pen", "too_little", "outside")
_LABELS = {
    "analyzed": "analyzed",
    "blurred": "left out: out of focus",
    "pen": "left out: pen",
    "too_little": "left out: tile with too little tissue, or much pen",
    "outside": "left out: no tissue",
}
_COLORS = (None, (0, 158, 115), (230, 159, 0), (213, 94, 0), (204, 121, 167), (150, 150, 150))
"""From Okabe and Ito's palette, which the color-blind can distinguish."""
_RGBA = table(_COLORS)


@dataclass(frozen=True, eq=False)
class TissueLayer:
    """The tissue mask of a slide of `size` level-0 pixels, and its tiles: analyzed except those out of focus.

    `tiles` with `blurred`, bool[tile], if they are known; else `analyzed`, a raster of 1 where a profiler looked;
    without either, all tissue counts as analyzed.
    """

    mask: TissueMask
    size: tuple[int, int]
    mpp: tuple[float, float]
    tiles: Tiles | None = None
    blurred: Bool | None = None
    analyzed: ClassRaster | None = None

    id = "tissue"
    label = "Tissue and what was left out"
    unit = "mm²"

    @property
    def note(self) -> str:
        """How it was decided."""
        if self.tiles is None:
            return "Tissue and pen as detected at low power."
        return "Tissue and pen as detected at low power; a tile counts as a whole, including any glass in it."

    @cached_property
    def legend(self) -> tuple[Entry, ...]:
        """The area of each part in mm², at the mask's resolution."""
        height, width = self.mask.mask.shape
        scale = (width / self.size[0], height / self.size[1])
        codes = self._codes(Frame(size=(width, height), scale=scale, origin=(0.0, 0.0)))
        mm2 = self.mpp[0] * self.mpp[1] / (scale[0] * scale[1]) / 1e6
        areas = np.bincount(codes.ravel(), minlength=len(_KEYS)) * mm2
        return tuple(
            Entry(key, _LABELS[key], hex_of(color), round(area, 3))
            for key, color, area in zip(_KEYS, _COLORS, areas.tolist(), strict=True)
            if key is not None and color is not None and area > 0
        )

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> UInt8:
        """What was done at each pixel's center."""
        return painted(self._codes(Frame.of(box, size)), shown(_RGBA, _KEYS, keys))

    def left_out(self, x: float, y: float) -> str | None:
        """Why a point in level-0 pixels was left out; None if it was analyzed."""
        code = int(self._codes(Frame(size=(1, 1), scale=(1.0, 1.0), origin=(x - 0.5, y - 0.5)))[0, 0])
        key = _KEYS[code]
        return None if key is None or key == "analyzed" else _LABELS[key].removeprefix("left out: ")

    def geojson(self) -> Iterator[bytes]:
        """Tissue and pen as annotations."""
        yield b'{"type":"FeatureCollection","features":['
        first = True
        for mask, name, color in ((self.mask.mask, "tissue", _COLORS[ANALYZED]), (self.mask.pen, "pen", _COLORS[PEN])):
            height, width = mask.shape
            step = np.array([self.size[0] / width, self.size[1] / height])
            for rings in trace(mask, Raster(shape=(height, width), mpp=1.0)):
                closed = [np.round(np.concatenate([ring, ring[:1]]) * step, 2).tolist() for ring in rings]
                feature = {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": closed},
                    "properties": {"objectType": "annotation", "classification": {"name": name, "color": color}},
                }
                yield ("\n" if first else ",\n").encode() + json.dumps(feature, separators=(",", ":")).encode()
                first = False
        yield b"\n]}\n"

    def _codes(self, frame: Frame) -> UInt8:
        x, y = frame.centers()
        found = self._raster.at(x, y)
        looked, blurred = self._looked(frame, x, y)
        codes = np.array([OUTSIDE, TOO_LITTLE, PEN], np.uint8)[found]
        inside = (x >= 0) & (x < self.size[0])
        codes[~np.logical_and.outer((y >= 0) & (y < self.size[1]), inside)] = 0
        codes[looked] = np.where(blurred[looked], np.uint8(BLURRED), np.uint8(ANALYZED))
        return codes

    def _looked(self, frame: Frame, x: Float64, y: Float64) -> tuple[Bool, Bool]:
        """bool[h w] twice: whether each pixel was looked at, and whether it was out of focus."""
        if self.tiles is not None:
            flags = np.zeros(len(self.tiles), np.int64) if self.blurred is None else self.blurred.astype(np.int64)
            total, count = self.tiles.cover(frame, flags)
            return count > 0, total > 0
        tissue = self._raster.at(x, y) == 1
        if self.analyzed is not None:
            tissue &= self.analyzed.at(x, y) > 0
        return tissue, np.zeros_like(tissue)

    @cached_property
    def _raster(self) -> ClassRaster:
        height, width = self.mask.mask.shape
        codes = self.mask.mask.astype(np.uint8) + 2 * self.mask.pen.astype(np.uint8)
        return ClassRaster(codes=codes, step=(self.size[0] / width, self.size[1] / height))
