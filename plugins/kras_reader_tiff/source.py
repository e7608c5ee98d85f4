"""One TIFF through tifffile: only the tiles or strips that a region touches are read and decoded."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tifffile
from tifffile import COMPRESSION

from kras_plugins import Level, RemoteFile, SlideError
from kras_plugins.slides.grid import Box, Decoded
from kras_plugins.slides.tiff import damage_told, find_image, tag_name
from kras_reader_tiff.page import Page
from kras_reader_tiff.scale import find_scale

if TYPE_CHECKING:
    from kras_plugins.data import UInt8


class TiffSource:
    """A SlideSource. Labels, macro images and thumbnails are not read; a file of several slides is refused.

    RGB of 8 bits, contiguous or planar, with or without alpha, in tiles or strips, in the codecs of `stated.py`.
    """

    quickhash: str | None = None

    def __init__(self, path: Path | str, cache_mb: int, remote: RemoteFile | None = None) -> None:
        """Open the file, or `remote`, which errors call `path`; raises SlideError naming file and cause."""
        self._path = path
        self._remote = remote
        self._file_lock = threading.Lock()
        self._cache = Decoded(cache_mb << 20)
        with damage_told(path):
            file: Any = path if remote is None else remote
            self._tif = tifffile.TiffFile(file)
            try:
                self._describe()
            except BaseException:
                self.close()
                raise

    def _describe(self) -> None:
        """Find levels and scale."""
        image = find_image(self._tif, self._path)
        self._pages = [Page(page, self._path) for page in image.levels]
        self.levels = tuple(Level(width=page.imagewidth, height=page.imagelength) for page in image.levels)
        scale = find_scale(image, self._tif.is_svs)
        self.mpp, self.objective_power, self.warnings = scale.mpp, scale.power, scale.warnings
        self.properties: Mapping[str, str] = {
            "format": "svs" if self._tif.is_svs else "ome" if self._tif.is_ome else "generic",
            "compression": tag_name(COMPRESSION, image.levels[0].compression),
        }

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a region of `level`; missing tiles are white. Raises SlideError on damage."""
        self.prefetch(level, [(xy, size)])
        return self._pages[level].grid.region(xy, size, lambda index: self._segment(level, index), self._path)

    def prefetch(self, level: int, boxes: Sequence[Box]) -> None:
        """Read the tiles or strips that these (xy, size) touch together, where the file is remote."""
        if self._remote is None:
            return
        page = self._pages[level]
        needed = sorted({index for xy, size in boxes for index in page.grid.touched(xy, size)})
        spans = [span for index in needed if self._cache.get((level, index)) is None for span in page.where(index)]
        self._remote.expect([span for span in spans if span[1] and sum(span) <= self._remote.size])

    def _segment(self, level: int, index: int) -> UInt8:
        """A decoded tile or strip, from the cache where it is there."""
        pixels = self._cache.get((level, index))
        if pixels is None:
            page = self._pages[level]
            with damage_told(self._path):
                encoded = [self._raw(offset, count) if count else b"" for offset, count in page.where(index)]
                pixels = page.decode(encoded, index)
            self._cache.put((level, index), pixels)
        return pixels

    def _raw(self, offset: int, count: int) -> bytes:
        if self._remote is not None and offset + count <= self._remote.size:
            return self._remote.fetch([(offset, count)])[0]
        with self._file_lock:
            file = self._tif.filehandle
            if file.closed:
                raise SlideError(f"{self._path}: was closed")
            if offset + count > file.size:  # a read would first allocate memory for all that is declared
                data = b""
            else:
                file.seek(offset)
                data = file.read(count)
        if len(data) != count:
            raise SlideError(f"{self._path}: is truncated", "copy it again from its source")
        return data

    def close(self) -> None:
        """Close the file and forget what was decoded."""
        with self._file_lock:
            self._tif.close()
        self._cache.clear()
