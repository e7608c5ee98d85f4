"""A reader that holds all pages of a TIFF, or a PNG, in memory."""

from __future__ import annotations

import threading
import time

import numpy as np
import tifffile
from PIL import Image

from kras_plugins import Level, ReaderPlugin, SlideError, SlideSource, hookimpl


class Pages(SlideSource):
    def __init__(self, path):
        try:
            self.pages = self.read(path)
        except Exception as e:
            raise SlideError(f"{path}: {e}", "copy it again") from e
        self.levels = tuple(Level(width=p.shape[1], height=p.shape[0]) for p in self.pages)
        self.lock = threading.Lock()

    def read(self, path):
        if path.suffix == ".png":
            with Image.open(path) as image:
                white = Image.new("RGBA", image.size, "white")
                return [np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))]
        with tifffile.TiffFile(path) as tiff:
            self.mpp = (0.5, 0.5)
            self.properties = {"format": "TIFF"}
            return [page.asarray() for page in tiff.pages]

    def read_level(self, level, xy, size):
        with self.lock:
            self.corner = xy
            time.sleep(0.0005)
            (x, y), (width, height) = self.corner, size
        return self.pages[level][y : y + height, x : x + width].copy()

    def close(self):
        self.pages = []


@hookimpl
def kras_readers():
    yield ReaderPlugin(
        name="pages", summary="pages", suffixes=(".tiff", ".png"), open=lambda path, options: Pages(path)
    )
