"""Layer `contribution`: how much each tile raises or lowers the score of a member on tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from kras_plugins.report.style import LOWERS, RAISES, model_label
from kras_plugins.viewer.layers.explained import Explained
from kras_plugins.viewer.layers.frame import Frame
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.layers.palette import hex_of

if TYPE_CHECKING:
    from kras_plugins.data import Float64, UInt8
    from kras_plugins.viewer.geometry import Box
    from kras_plugins.viewer.layers.tiles import Whole

_NEUTRAL, _UNSEEN = (245, 245, 245), (110, 110, 110)
_POLES = np.array([ImageColor.getrgb(color) for color in (LOWERS, RAISES)])
_STEPS = 500
_LEAST, _MOST = 70, 255
_HATCH = 8
_CLIP = 99


@dataclass(frozen=True, eq=False)
class ContributionLayer:
    """Contributions of tiles to the score of `member`; `source`: a sentence about the models.

    `every_tile`: whether the tiles that the model did not look at are known, too.
    """

    explained: Explained
    source: str
    member: str = "he"
    every_tile: bool = True

    id = "contribution"
    label = "Contribution"
    unit = "tiles"

    @property
    def note(self) -> str:
        """What it is, and what it is not."""
        return (
            f"{self.source} It explains the score of {model_label(self.member)} alone, not that of the ensemble, "
            "and is not a counterfactual: it does not say what the score would be without the tile."
        )

    @cached_property
    def legend(self) -> tuple[Entry, ...]:
        """Tiles that raise the score, that lower it, and that the model did not look at."""
        values = self.values
        return (
            Entry("raises", "raises the score", RAISES, int(np.sum(values > 0))),
            Entry("lowers", "lowers the score", LOWERS, int(np.sum(values < 0))),
            Entry(
                "unseen",
                "not looked at" if self.every_tile else "not looked at (unknown: no longer in the store)",
                hex_of(_UNSEEN),
                int(np.sum(np.isnan(values))) if self.every_tile else None,
            ),
        )

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> UInt8:
        """Each tile in the color of its sign, stronger farther from zero; hatched if not looked at."""
        frame, values, tiles = Frame.of(box, size), self.values, self.explained.tiles
        every = keys is None
        which = (values == 0) & every
        for key, own in (("raises", values > 0), ("lowers", values < 0)):
            which |= own & (every or key in (keys or ()))
        total, count = tiles.cover(frame, self._steps, which)
        rgba = _colors()[np.rint(total / np.maximum(count, 1)).astype(np.int64) + _STEPS]
        rgba[count == 0] = 0
        if every or "unseen" in (keys or ()):
            _, unseen = tiles.cover(frame, np.zeros(len(tiles), np.int64), np.isnan(values))
            rgba[(unseen > 0) & (count == 0) & _hatched(frame)] = (*_UNSEEN, 255)
        return rgba

    def geojson(self) -> Iterator[bytes]:
        """The tiles with their values, as `kras predict` writes them."""
        return self.explained.geojson()

    @property
    def values(self) -> Float64:
        """float64[tile], NaN for tiles that the model did not look at."""
        assert self.explained.contribution is not None
        return self.explained.contribution

    @cached_property
    def _steps(self) -> Whole:
        """int64[tile] in [-_STEPS, _STEPS]: steps are symmetric about zero.

        The scale ends at the 99th percentile of distances from zero, so that a single tile does not fade all others.
        """
        values = np.nan_to_num(self.values)
        far = np.abs(values[values != 0])
        end = float(np.percentile(far, _CLIP)) if len(far) else 1.0
        return np.rint(np.clip(values / end, -1, 1) * _STEPS).astype(np.int64)


def _colors() -> UInt8:
    """RGBA uint8[2 * _STEPS + 1 4], from lowering over neutral to raising."""
    share = np.linspace(-1, 1, 2 * _STEPS + 1)[:, None]
    pole = np.where(share < 0, *_POLES)
    rgb = np.array(_NEUTRAL) * (1 - np.abs(share)) + pole * np.abs(share)
    rgba: UInt8 = np.rint(np.hstack([rgb, _LEAST + (_MOST - _LEAST) * np.abs(share)])).astype(np.uint8)
    return rgba


def _hatched(frame: Frame) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """bool[h w]: diagonal lines, counted from the slide's corner, so that they continue in the next drawing."""
    columns, rows = (np.floor(start) + np.arange(n) for start, n in zip(frame.origin, frame.size, strict=True))
    return np.asarray(np.add.outer(rows, columns) % _HATCH < 2)
