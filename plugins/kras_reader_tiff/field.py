"""One PNG or JPEG image as a slide of one level, held in memory."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kras_plugins import Level, SlideError

if TYPE_CHECKING:
    from kras_plugins.data import UInt8


class FieldSource:
    """A SlideSource. What such files say of their resolution is meant for printers, so `mpp` is None."""

    mpp: tuple[float, float] | None = None
    objective_power: float | None = None
    quickhash: str | None = None
    warnings: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        """Decode the image; raises SlideError on a damaged or oversized one and where it is not 8-bit RGB."""
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.mode not in ("RGB", "RGBA"):
                    raise SlideError(
                        f"{path}: has mode {image.mode}, not 8-bit RGB", "H&E needs color; export it as RGB"
                    )
                self.properties: Mapping[str, str] = {"format": str(image.format)}
                if image.mode == "RGBA":
                    white = Image.new("RGBA", image.size, "white")
                    self._pixels = np.asarray(Image.alpha_composite(white, image).convert("RGB"))
                else:
                    self._pixels = np.asarray(image)
        except Image.DecompressionBombError as e:
            raise SlideError(f"{path}: {e}", "an image of this size belongs into a tiled pyramidal TIFF") from e
        except (OSError, SyntaxError, ValueError, struct.error) as e:
            raise SlideError(f"{path}: {e}", "the file is damaged; copy it again from its source") from e
        height, width = self._pixels.shape[:2]
        self.levels: tuple[Level, ...] = (Level(width=width, height=height),)

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a region."""
        (x, y), (width, height) = xy, size
        return self._pixels[y : y + height, x : x + width].copy()

    def close(self) -> None:
        """Nothing is open."""
