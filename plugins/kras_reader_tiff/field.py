"""One PNG or JPEG image as a slide of one level, kept in memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import simplejpeg
from PIL import Image

from kras_plugins import ContentError, Level, RemoteFile, SlideError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from kras_plugins.data import UInt8


MODES = {"1": "black and white", "L": "gray", "LA": "gray", "P": "colors of a palette", "CMYK": "inks for printing"}
"""Pillow's modes in words, except gray with more bits, which has several."""


class FieldSource:
    """A SlideSource. The resolution that such files state is meant for printers, so `mpp` is None."""

    mpp: tuple[float, float] | None = None
    objective_power: float | None = None
    quickhash: str | None = None
    warnings: tuple[str, ...] = ()

    def __init__(self, path: Path | str, remote: RemoteFile | None = None) -> None:
        """Decode the image, from `remote` if given, which errors call `path`.

        Raises SlideError if it is damaged or too large, ContentError if it is not 8-bit RGB.
        """
        try:
            content = Path(path).read_bytes() if remote is None else remote.read() or b""
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                _check(image, path)
                self.properties: Mapping[str, str] = {"format": str(image.format)}
                # Pillow lays black where rows of a PNG are missing, and looks at no checksum of its pixels.
                pixels = imagecodecs.png_decode(content) if image.format == "PNG" else np.asarray(image)
                if image.format == "JPEG":
                    _check_scan(content)
            if pixels.shape[2] == 4:
                white = Image.new("RGBA", image.size, "white")
                pixels = np.asarray(Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB"))
            self._pixels = pixels
        except Image.DecompressionBombError as e:
            raise SlideError(f"{path}: {e}", "store an image of this size as a tiled pyramidal TIFF") from e
        except (OSError, SyntaxError, ValueError, RuntimeError, struct.error) as e:  # RuntimeErrors of libpng
            raise SlideError(f"{path}: {e}", "the file is damaged; copy it again from its source") from e
        height, width = self._pixels.shape[:2]
        self.levels: tuple[Level, ...] = (Level(width=width, height=height),)

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a region."""
        (x, y), (width, height) = xy, size
        return self._pixels[y : y + height, x : x + width].copy()

    def prefetch(self, level: int, boxes: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> None:
        """All of it is here."""

    def close(self) -> None:
        """Nothing is open."""


def _check_scan(content: bytes) -> None:
    """Raise ValueError where the scan of a JPEG is cut off or damaged: libjpeg makes up what is missing, with a warning
    that Pillow keeps to itself."""
    try:
        simplejpeg.decode_jpeg(content, fastdct=True, strict=True)
    except ValueError as e:
        if "extraneous bytes" not in str(e):  # some writers pad before the end, and nothing is missing then
            raise


def _check(image: ImageFile, path: Path | str) -> None:
    """Raise ContentError describing the file, unless it is a single image in 8-bit RGB."""
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise ContentError(f"{path}: is an animation, not one picture", "export one picture of it")
    deep = any(";16" in str(tile[3]) for tile in image.tile)  # Pillow would keep the upper byte of each sample
    if image.mode not in ("RGB", "RGBA") or deep:
        what = (
            "deep color of 16 bits" if deep and "RGB" in image.mode else MODES.get(image.mode, "gray of 16 or 32 bits")
        )
        raise ContentError(
            f"{path}: has mode {image.mode}: {what}, not 8-bit RGB", "H&E is read in color: export it as 8-bit RGB"
        )
