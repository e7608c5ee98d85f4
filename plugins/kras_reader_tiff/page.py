"""How one level's pixels lie in the file, and how a piece of it becomes RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from kras_plugins import SlideError
from kras_plugins.slides.grid import Grid
from kras_plugins.slides.stated import BOUNDED, SIZED
from kras_plugins.slides.tiff import MAX_SEGMENT_PX, RETILE, alpha_of, tag_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kras_plugins.data import UInt8

JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG)
"""Codecs that turn YCbCr into RGB by themselves."""
END = b"\xff\xd9"
"""What ends a JPEG, and stands nowhere in its scan; encoders may pad behind it."""
MAX_EXCESS = 4
"""An image may be this many times as large as its place in the level, because encoders pad."""
RAW_ROWS = 256
"""An uncompressed image in one strip, as many writers make it, is read in pieces of this many rows."""


class Page:
    """A page of a TIFF as a `grid` of segments: tiles or strips."""

    def __init__(self, page: Any, path: Path | str) -> None:
        """Wrap a tifffile page of 8-bit color; raises SlideError if its codec or layout cannot be read."""
        self._page = page
        self._check(path)
        single_strip = not page.is_tiled and page.rowsperstrip >= page.imagelength
        self._raw = (
            page.compression == COMPRESSION.NONE and single_strip and page.planarconfig == 1 and page.fillorder == 1
        )
        width: int = page.tilewidth if page.is_tiled else page.imagewidth
        height: int = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        if self._raw:
            height = min(RAW_ROWS, height)
        if width * height > MAX_SEGMENT_PX:
            raise SlideError(f"{path}: is stored in pieces of {width} x {height} pixels", RETILE)
        self.grid = Grid(width, height, -(-page.imagewidth // width))
        self._per_plane = self.grid.columns * -(-page.imagelength // height)
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._alpha = alpha_of(page)
        jpeg = page.compression in JPEG
        # Made here, not with the first tile: tifffile moves the file's position, which would disturb other threads.
        self._decode = None if self._raw else page.decode
        self._tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if jpeg else {}

    def _check(self, path: Path | str) -> None:
        """Raise SlideError where the codec is unknown: another reader may decode it."""
        page = self._page
        undone = page.photometric == PHOTOMETRIC.YCBCR and (page.compression not in JPEG or page.planarconfig == 2)
        if (page.compression not in SIZED and page.compression not in BOUNDED) or undone:
            kind = f"{tag_name(COMPRESSION, page.compression)} of {tag_name(PHOTOMETRIC, page.photometric)}"
            raise SlideError(f"{path}: has the compression {kind}, which this reader cannot decode", RETILE)

    def where(self, index: int) -> list[tuple[int, int]]:
        """Offset and byte count of a segment in the file, one pair per plane; a count of 0 is a missing
        segment."""
        page = self._page
        if self._raw:
            row = index * self.grid.height
            stride = self.grid.width * page.samplesperpixel
            count = min(self.grid.height, page.imagelength - row) * stride
            return [(page.dataoffsets[0] + row * stride, count)]
        parts = range(index, index + self._planes * self._per_plane, self._per_plane)
        return [(page.dataoffsets[i], page.databytecounts[i]) for i in parts]

    def decode(self, encoded: Sequence[bytes], index: int) -> UInt8:
        """A segment's pixels uint8[h w 3]; it may be cut at the level's edge. Raises what tifffile raises."""
        if not all(encoded):
            return np.full((self.grid.height, self.grid.width, 3), 255, np.uint8)
        if self._decode is None:
            pixels = np.frombuffer(encoded[0], np.uint8).reshape(-1, self.grid.width, self._page.samplesperpixel)
        else:
            self._check_stated(encoded)
            planes = [
                self._decode(data, index + i * self._per_plane, **self._tables)[0][0] for i, data in enumerate(encoded)
            ]
            pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
        return self._on_white(pixels)

    def _check_stated(self, encoded: Sequence[bytes]) -> None:
        """Raise ValueError if an image states more pixels than its place in the level has, before it is decoded.

        Also for a JPEG without its end: libjpeg would fill the rest with gray.
        """
        if self._page.compression not in SIZED:
            return
        for data in encoded:
            width, height = SIZED[self._page.compression](data)
            if width * height > MAX_EXCESS * self.grid.width * self.grid.height:
                raise ValueError(f"a tile of {self.grid.width} x {self.grid.height} pixels states {width} x {height}")
            if self._page.compression == COMPRESSION.JPEG and data.rfind(END, len(data) // 2) < 0:
                raise ValueError("a JPEG tile is cut off")

    def _on_white(self, pixels: UInt8) -> UInt8:
        """Without its alpha channel, laid over white; a fourth channel of unknown meaning is ignored.

        Bit for bit what libtiff computes, and thus the reader `openslide`.
        """
        color = pixels[..., :3]
        if self._alpha is None:
            return color
        alpha = pixels[..., 3:]
        if self._alpha == EXTRASAMPLE.UNASSALPHA:
            color = ((color.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
        out: UInt8 = np.minimum(color, alpha) + (255 - alpha)  # no color is above its alpha: the sum stays within 255
        return out
