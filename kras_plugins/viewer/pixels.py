"""Pixels of any box of a slide; a slide without small levels is read as a whole only once, not for each view."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.slides.resample import resample, window

if TYPE_CHECKING:
    from kras_plugins.data import UInt8
    from kras_plugins.slides.slide import Slide
    from kras_plugins.viewer.geometry import Box

OVERVIEW_PX = 2048
"""Longer side of the small level that is made, at most, in pixels: 12 MB."""
MISSING = 4
"""A small level is made if the slide's smallest level is more than this many times larger."""


class Pixels:
    """The pixels that the viewer shows of a slide. Thread-safe."""

    def __init__(self, slide: Slide, most: int = OVERVIEW_PX) -> None:
        self._slide = slide
        # Level-0 pixels per pixel of the small level; a power of two, as in the levels of the viewer's pyramid.
        self._down = 1 << (-(-max(slide.size) // most) - 1).bit_length()
        self._lacks = not has_small_level(slide, most)
        self._lock = threading.Lock()
        self._small: UInt8 | None = None

    def box(self, box: Box, size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a rectangle, `size` (width, height) of them; raises as `Slide.box` does."""
        step = box.width / size[0] / self._down, box.height / size[1] / self._down
        if not self._lacks or min(step) < 1:
            return self._slide.box((box.x, box.y), (box.width, box.height), size)
        small, start = self._overview(), (box.x / self._down, box.y / self._down)
        height, width = small.shape[:2]
        left, right = window(start[0], step[0], size[0], width)
        top, bottom = window(start[1], step[1], size[1], height)
        canvas = np.full((bottom - top, right - left, 3), 255, np.uint8)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if x0 < x1 and y0 < y1:
            canvas[y0 - top : y1 - top, x0 - left : x1 - left] = small[y0:y1, x0:x1]
        return resample(canvas, (start[0] - left, start[1] - top), step, size)

    def _overview(self) -> UInt8:
        with self._lock:  # other callers wait meanwhile and read nothing
            if self._small is None:
                width, height = (-(-n // self._down) for n in self._slide.size)
                extent = width * self._down, height * self._down
                self._small = self._slide.box((0, 0), extent, (width, height))
            return self._small


def has_small_level(slide: Slide, most: int = OVERVIEW_PX) -> bool:
    """Whether a slide can be shown as a whole without much reading."""
    smallest = slide.levels[-1]
    return max(smallest.width, smallest.height) <= MISSING * most
