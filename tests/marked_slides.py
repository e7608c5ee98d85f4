"""Slides with dark squares at known level-0 coordinates, and where a picture of a box has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from kras_plugins.viewer.geometry import Box, Pyramid

SIZE = (2207, 1739)
"""Neither side a multiple of the pyramid's factor: at the far end a wrong factor shifts by most of a pixel."""
SIDE = 40
MARKS = np.array([(x, y) for x in (3.0, 611, 1300, 2150) for y in (5.0, 700, 1690)])
"""Upper left corners; the last ones lie at the far end."""


def marked(path: Path, mpp: tuple[float, float], levels: int = 3, factor: int = 4) -> Path:
    """A white TIFF with the marks; smaller levels drop what is left over at the end, as libvips and Aperio do."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    for x, y in MARKS.astype(int):
        pixels[y : y + SIDE, x : x + SIDE] = 0
    with tifffile.TiffWriter(path) as tiff:
        for level in range(levels):
            down = factor**level
            whole = pixels[: SIZE[1] // down * down, : SIZE[0] // down * down]
            tiff.write(
                np.asarray(Image.fromarray(whole).reduce(down)), tile=(256, 256), photometric="rgb",
                compression="deflate", subfiletype=int(level > 0), metadata=None,
                resolution=(1e4 / mpp[0] / down, 1e4 / mpp[1] / down), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


@dataclass(frozen=True)
class Squares:
    """A layer that draws the marks from their coordinates, each pixel as opaque as the mark covers it."""

    id: str = "squares"
    label: str = "Squares"
    note: str = ""
    unit: str = ""
    legend: tuple[object, ...] = ()

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> np.ndarray:
        def covered(start: float, extent: float, n: int, at: float) -> np.ndarray:
            edges = start + extent * np.arange(n + 1) / n
            return np.clip(np.minimum(edges[1:], at + SIDE) - np.maximum(edges[:-1], at), 0, None) * n / extent

        alpha = sum(
            covered(box.y, box.height, size[1], y)[:, None] * covered(box.x, box.width, size[0], x)[None]
            for x, y in MARKS
        )
        drawn = np.zeros((size[1], size[0], 4), np.uint8)
        drawn[..., 3] = np.rint(255 * alpha)
        return drawn

    def geojson(self) -> None:
        return None


def centers(darkness: np.ndarray, pyramid: Pyramid, level: int) -> np.ndarray:
    """Centers (x, y) of the marks in a level's own pixels, each of the darkness float[h w] around where it is due."""
    found = []
    for x, y in due(pyramid, level):
        reach = SIDE * max(pyramid.scale) / 2 / (1 << (pyramid.top - level)) + 3
        x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
        part = darkness[y0 : int(y + reach) + 1, x0 : int(x + reach) + 1].astype(float)
        ys, xs = np.mgrid[: part.shape[0], : part.shape[1]] + 0.5
        found.append((x0 + (xs * part).sum() / part.sum(), y0 + (ys * part).sum() / part.sum()))
    return np.array(found)


def due(pyramid: Pyramid, level: int) -> np.ndarray:
    """Where the marks' centers lie in a level's own pixels by their level-0 coordinates."""
    return (MARKS + SIDE / 2) * np.array(pyramid.scale) / (1 << (pyramid.top - level))


def mosaic(pyramid: Pyramid, level: int, draw) -> np.ndarray:
    """A whole level, put together of its tiles; `draw(box, size)` gives one."""
    across, down = pyramid.tiles(level)
    return np.concatenate(
        [np.concatenate([draw(*pyramid.box(level, col, row)) for col in range(across)], 1) for row in range(down)]
    )
