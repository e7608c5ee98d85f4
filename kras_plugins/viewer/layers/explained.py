"""Tiles of a slide with a model's values for each: two layers draw them, and the pointer shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.report.heatmap import tiles_geojson
from kras_plugins.viewer.layers.tiles import Tiles

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, Int32


@dataclass(frozen=True, eq=False)
class Explained:
    """float64[tile] each: `attention`, and `contribution` to the score; NaN for tiles that the model did not look at.

    If the model does not give them, `attention` is NaN throughout and `contribution` is None.
    """

    tiles: Tiles
    attention: Float64
    contribution: Float64 | None = None

    @classmethod
    def over(cls, tiles: Tiles, xy: Int32, measured: Mapping[str, Float64]) -> Explained:
        """The values of the tiles at `xy`, int32[tile 2], among all `tiles` of the slide; NaN for the others."""
        place = {(x, y): i for i, (x, y) in enumerate(tiles.xy.tolist())}
        at = np.array([place.get((x, y), -1) for x, y in np.asarray(xy).tolist()], np.int64)

        def spread(name: str) -> Float64:
            values = np.full(len(tiles), np.nan)
            if name in measured:
                values[at[at >= 0]] = measured[name][at >= 0]
            return values

        contribution = spread("contribution") if "contribution" in measured else None
        return cls(tiles, spread("attention"), contribution)

    @property
    def looked(self) -> Bool:
        """bool[tile]: whether the model looked at each tile."""
        given = np.isfinite(self.attention)
        return given if self.contribution is None else given | np.isfinite(self.contribution)

    def geojson(self) -> Iterator[bytes]:
        """The tiles with their values, level-0 pixels, as QuPath opens them."""
        named = {"attention": self.attention}
        if self.contribution is not None:
            named["contribution"] = self.contribution
        yield tiles_geojson(self.tiles.xy, self.tiles.size, named).encode()
