"""Conversion from level-0 pixels to the pixels of one drawing, so that neighboring drawings meet without a seam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kras_plugins.data import Float64
    from kras_plugins.viewer.geometry import Box

_WHOLE = 1e-6
"""A box that begins this close to a whole pixel of its scale begins there: the difference is rounding."""


@dataclass(frozen=True)
class Frame:
    """`size`: (width, height) of a drawing; `scale`: its pixels per level-0 pixel along x and y.

    `origin`: its upper left corner in pixels of this scale from the slide's corner. All drawings of one scale count
    pixels from the slide's corner, so that a shape has the same pixels in each of them.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    origin: tuple[float, float]

    @classmethod
    def of(cls, box: Box, size: tuple[int, int]) -> Frame:
        """The frame in which level-0 point p lies at pixel (p - box.x) * width / box.width."""
        scale = (size[0] / box.width, size[1] / box.height)
        left, top = (_whole(corner * one) for corner, one in zip((box.x, box.y), scale, strict=True))
        return cls(size=size, scale=scale, origin=(left, top))

    def centers(self) -> tuple[Float64, Float64]:
        """Level-0 coordinates of the pixels' centers: x float64[column], y float64[row]."""
        x, y = (
            np.asarray((start + np.arange(n) + 0.5) / scale, np.float64)
            for start, n, scale in zip(self.origin, self.size, self.scale, strict=True)
        )
        return x, y

    def pixels(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Where level-0 points lie in the drawing, in pixels; its first pixel reaches from 0 to 1."""
        return x * self.scale[0] - self.origin[0], y * self.scale[1] - self.origin[1]


def _whole(value: float) -> float:
    return float(round(value)) if abs(value - round(value)) < _WHOLE else value
