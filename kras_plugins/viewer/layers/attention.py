"""Layer `attention`: where the tile model looked, as percentiles among the tiles of the slide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.report.heatmap import percentiles
from kras_plugins.viewer.layers.explained import Explained
from kras_plugins.viewer.layers.frame import Frame
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.layers.palette import hex_of

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8
    from kras_plugins.viewer.geometry import Box

_STEPS = 1000
_FIFTHS = ("lowest fifth", "second fifth", "middle fifth", "fourth fifth", "highest fifth")


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """Attention of tiles; `source`: a sentence about the models."""

    explained: Explained
    source: str

    id = "attention"
    label = "Attention"
    unit = "tiles"

    @property
    def note(self) -> str:
        """What it is, and what it is not."""
        return f"{self.source} Percentile of attention among the tiles of this slide; it is not a contribution."

    @cached_property
    def percentile(self) -> Float64:
        """float64[tile] in [0, 1], NaN for tiles that were not looked at."""
        return percentiles(self.explained.attention)

    @cached_property
    def legend(self) -> tuple[Entry, ...]:
        """Tiles by fifth, from the least to the most attended."""
        counts = np.bincount(self._fifth[self._fifth >= 0], minlength=len(_FIFTHS)).tolist()
        colors = [tuple(map(int, _colors()[round((i + 0.5) / 5 * _STEPS), :3])) for i in range(len(_FIFTHS))]
        return tuple(
            Entry(f"fifth{i + 1}", name, hex_of((r, g, b)), count)
            for i, (name, (r, g, b), count) in enumerate(zip(_FIFTHS, colors, counts, strict=True))
        )

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> UInt8:
        """Each tile in the color of its percentile; where tiles overlap, in that of their mean."""
        which = self._fifth >= 0
        if keys is not None:
            which &= np.isin(self._fifth, [i for i in range(len(_FIFTHS)) if f"fifth{i + 1}" in keys])
        steps = np.rint(np.nan_to_num(self.percentile) * _STEPS).astype(np.int64)
        total, count = self.explained.tiles.cover(Frame.of(box, size), steps, which)
        rgba = _colors()[total // np.maximum(count, 1)]
        rgba[count == 0] = 0
        return rgba

    def geojson(self) -> Iterator[bytes]:
        """The tiles with their values, as `kras predict` writes them."""
        return self.explained.geojson()

    @cached_property
    def _fifth(self) -> Float64:
        known = np.isfinite(self.percentile)
        fifth = np.minimum(np.floor(np.nan_to_num(self.percentile) * 5), 4).astype(np.int64)
        return np.where(known, fifth, -1)


def _colors() -> UInt8:
    from matplotlib import colormaps

    rgba: UInt8 = np.rint(255 * colormaps["cividis"](np.linspace(0, 1, _STEPS + 1))).astype(np.uint8)
    return rgba
