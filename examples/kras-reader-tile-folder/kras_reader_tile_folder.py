"""Reader `tile_folder`: a slide as a folder of image tiles, described by a JSON file of the same name beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kras_plugins import Level, ReaderPlugin, SlideError, SlideSource, hookimpl


class TileFolder(SlideSource):
    """`slide.json` says `{"tile_px": 256, "mpp": 0.5, "tiles": {"a.png": [column, row], …}}` of the folder `slide`."""

    def __init__(self, sidecar: Path) -> None:
        try:
            text = sidecar.read_text(encoding="utf-8")
            facts = json.loads(text)
            self.px, self.mpp = int(facts["tile_px"]), (float(facts["mpp"]), float(facts["mpp"]))
            self._files = {(int(c), int(r)): sidecar.with_suffix("") / name for name, (c, r) in facts["tiles"].items()}
            columns, rows = (max(axis) + 1 for axis in zip(*self._files, strict=True))
            sizes = [file.stat().st_size for file in self._files.values()]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
            raise SlideError(f"{sidecar}: {type(e).__name__}: {e}", "see that it states tile_px, mpp and tiles") from e
        self.levels = (Level(width=columns * self.px, height=rows * self.px),)
        self.quickhash = hashlib.sha256(f"{text}{sizes}".encode()).hexdigest()  # the sidecar alone is not the slide
        self._tile = lru_cache(maxsize=64)(self._decode)

    def _decode(self, place: tuple[int, int]) -> Any:
        if place not in self._files:
            return np.full((self.px, self.px, 3), 255, np.uint8)
        try:
            with Image.open(self._files[place]) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as e:
            raise SlideError(f"{self._files[place]}: {e}", "the tile is damaged; export it again") from e
        if pixels.shape[:2] != (self.px, self.px):
            raise SlideError(f"{self._files[place]}: {pixels.shape[:2]} pixels, not {self.px}", "correct tile_px")
        return pixels

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> Any:
        """Pixels uint8[h w 3] of a region; white where there is no tile."""
        columns, rows = (range(v // self.px, (v + n - 1) // self.px + 1) for v, n in zip(xy, size, strict=True))
        whole = np.vstack([np.hstack([self._tile((c, r)) for c in columns]) for r in rows])
        x, y = xy[0] % self.px, xy[1] % self.px
        return whole[y : y + size[1], x : x + size[0]]


@hookimpl
def kras_readers() -> Iterable[ReaderPlugin]:
    """Yield the record."""
    summary = "a folder of image tiles with a JSON file beside it"
    yield ReaderPlugin(name="tile_folder", summary=summary, suffixes=(".json",), open=lambda path, _: TileFolder(path))
