"""How one level's pixels lie in the file, and how a piece of it becomes RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from kras_plugins import SlideError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kras_plugins.data import UInt8

JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG)
"""Codecs that turn YCbCr into RGB by themselves."""
MAX_SEGMENT_PX = 1 << 26
"""Largest compressed tile or strip that is decoded for the sake of a region."""
RAW_ROWS = 256
"""An uncompressed image in one strip, as many writers make it, is read in pieces of so many rows."""
RETILE = "export it as 8-bit RGB with tiles, for example with `vips tiffsave IN OUT.tif --tile --pyramid`"


class Page:
    """A page of a TIFF as a grid of segments (tiles or strips): `width` x `height` pixels, `columns` in a
    row."""

    def __init__(self, page: Any, path: Path) -> None:
        """Take over a tifffile page; raises SlideError saying what it has where that is not readable 8-bit
        RGB."""
        self._page = page
        self._check(path)
        single_strip = not page.is_tiled and page.rowsperstrip >= page.imagelength
        self._raw = (
            page.compression == COMPRESSION.NONE and single_strip and page.planarconfig == 1 and page.fillorder == 1
        )
        self.width: int = page.tilewidth if page.is_tiled else page.imagewidth
        self.height: int = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        if self._raw:
            self.height = min(RAW_ROWS, self.height)
        if self.width * self.height > MAX_SEGMENT_PX:
            raise SlideError(f"{path}: is stored in pieces of {self.width} x {self.height} pixels", RETILE)
        self.columns = -(-page.imagewidth // self.width)
        self._per_plane = self.columns * -(-page.imagelength // self.height)
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._alpha = page.extrasamples[0] if page.extrasamples else None
        jpeg = page.compression in JPEG
        # Made here, not with the first tile: tifffile moves the file's position for it, under readers in other threads.
        self._decode = None if self._raw else page.decode
        self._tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if jpeg else {}

    def _check(self, path: Path) -> None:
        page = self._page
        has = f"{page.samplesperpixel} x {page.bitspersample} bit {_name(PHOTOMETRIC, page.photometric)}"
        codec = _name(COMPRESSION, page.compression)
        ycbcr = page.photometric == PHOTOMETRIC.YCBCR and page.compression in JPEG
        rgb = page.photometric == PHOTOMETRIC.RGB or ycbcr
        if not rgb or page.samplesperpixel not in (3, 4) or page.dtype != np.uint8 or page.bitspersample != 8:
            raise SlideError(f"{path}: has {has}, not 8-bit RGB", RETILE)
        if codec.isdigit() or page.compression == COMPRESSION.APERIO_JP2000_YCBC:
            raise SlideError(f"{path}: has the compression {codec}, which this reader cannot decode", RETILE)

    def where(self, index: int) -> list[tuple[int, int]]:
        """Offset and byte count of a segment in the file, one pair a plane; a count of 0 is a missing
        segment."""
        page = self._page
        if self._raw:
            row = index * self.height
            stride = self.width * page.samplesperpixel
            count = min(self.height, page.imagelength - row) * stride
            return [(page.dataoffsets[0] + row * stride, count)]
        parts = range(index, index + self._planes * self._per_plane, self._per_plane)
        return [(page.dataoffsets[i], page.databytecounts[i]) for i in parts]

    def decode(self, encoded: Sequence[bytes], index: int) -> UInt8:
        """A segment's pixels uint8[h w 3]; it may be cut at the level's edge. Raises what tifffile raises."""
        if not all(encoded):
            return np.full((self.height, self.width, 3), 255, np.uint8)
        if self._decode is None:
            pixels = np.frombuffer(encoded[0], np.uint8).reshape(-1, self.width, self._page.samplesperpixel)
        else:
            planes = [
                self._decode(data, index + i * self._per_plane, **self._tables)[0][0] for i, data in enumerate(encoded)
            ]
            pixels = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
        return self._on_white(pixels)

    def _on_white(self, pixels: UInt8) -> UInt8:
        """Without its alpha channel, laid over white; a fourth channel of unknown meaning is ignored."""
        color = pixels[..., :3]
        if self._alpha not in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA):
            return color
        alpha = pixels[..., 3:].astype(np.uint16)
        part = color.astype(np.uint16)
        if self._alpha == EXTRASAMPLE.UNASSALPHA:
            part = (part * alpha + 127) // 255
        out: UInt8 = np.minimum(part + (255 - alpha), 255).astype(np.uint8)
        return out


def _name(kind: Any, value: int) -> str:
    """Name of a tag's value, or the number where it is unknown."""
    return kind(value).name if value in kind.__members__.values() else str(int(value))
