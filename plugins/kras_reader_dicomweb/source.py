"""One series on a DICOMweb server as a slide: only the frames that a region touches are fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins import Level, SlideError, Url
from kras_plugins.remote.pieces import Pieces
from kras_plugins.slides.grid import Box, Decoded
from kras_plugins.slides.ome import positive
from kras_plugins.slides.tiff import damage_told
from kras_reader_dicomweb.service import Frame, Service, grouped

if TYPE_CHECKING:
    from kras_plugins.data import UInt8
    from kras_reader_dicomweb import DicomWebOptions
    from kras_reader_dicomweb.header import Header

FACTS = {"dicom.Manufacturer": "Manufacturer", "dicom.ManufacturerModelName": "ManufacturerModelName"}
"""The parts of the header that are passed on, by OpenSlide's names for them; the rest may name a person."""


class DicomWebSource:
    """An AddressSource. Pixels of labels, overviews and thumbnails are never requested.

    `quickhash`: sha256 over which frames of which instances (SOP instance UIDs) make up which levels, in which pixels,
    and over the bytes of one frame of the coarsest level, since not everyone who changes pixels changes UIDs.
    """

    def __init__(self, url: Url, options: DicomWebOptions) -> None:
        """Ask for the header and one frame; raises SlideError that names the address, ConfigError without libraries."""
        self._url = url
        self._service = Service(url, options.tokens)
        self._frames: Pieces[Frame] = Pieces(url, self._service.frames, partial(grouped, most=options.frames))
        self._cache = Decoded(options.cache_mb << 20)
        try:
            with damage_told(str(url)):
                self._describe()
        except BaseException:
            self.close()
            raise

    def _describe(self) -> None:
        from kras_reader_dicomweb.frame import codec, decode
        from kras_reader_dicomweb.header import Header
        from kras_reader_dicomweb.level import levels_of, volumes

        instances = volumes([Header(one) for one in self._service.metadata()], self._url)
        self._decode = decode
        self._levels = levels_of(instances, self._url)
        self.levels = tuple(Level(width=level.width, height=level.height) for level in self._levels)
        finest = next(h for h in instances if h.number("TotalPixelMatrixColumns") == self.levels[0].width)
        self.mpp = _mpp(finest)
        self.objective_power = next(
            (positive(path.text("ObjectiveLensPower")) for path in finest.items("OpticalPathSequence")), None
        )
        coarsest = next((level for level in reversed(self._levels) if level.runs), None)
        if coarsest is None:
            raise SlideError(f"{self._url}: has no frames", "send it to the server again")
        (first,) = self._frames.fetch([coarsest.runs[0][2:]])
        decode(first, coarsest)
        facts = [
            (m.width, m.height, m.grid.width, m.grid.height, m.photometric, m.planar, m.runs) for m in self._levels
        ]
        self.quickhash: str | None = sha256(json.dumps(facts).encode() + first).hexdigest()
        told = {name: finest.text(keyword) for name, keyword in FACTS.items()}
        self.properties: Mapping[str, str] = {
            "format": "dicomweb", "compression": codec(first, coarsest), **{k: v for k, v in told.items() if v},
        }  # fmt: skip
        self.warnings: tuple[str, ...] = ()

    def read_level(self, level: int, xy: tuple[int, int], size: tuple[int, int]) -> UInt8:
        """Pixels uint8[h w 3] of a region of `level`, white where there is no frame. Raises SlideError."""
        self.prefetch(level, [(xy, size)])
        return self._levels[level].grid.region(xy, size, lambda index: self._tile(level, index), self._url)

    def prefetch(self, level: int, boxes: Sequence[Box]) -> None:
        """Request together the frames that these (xy, size) touch."""
        matrix = self._levels[level]
        touched = sorted({index for xy, size in boxes for index in matrix.grid.touched(xy, size)})
        frames = [matrix.frame(index) for index in touched if self._cache.get((level, index)) is None]
        self._frames.fetch([frame for frame in frames if frame is not None])

    def transfer(self) -> Mapping[str, int]:
        """Bytes of all answers so far, in how many requests."""
        return {"bytes": self._service.received, "requests": self._service.requests}

    def close(self) -> None:
        """End the connections and forget what was received."""
        self._frames.close()
        self._service.close()
        self._cache.clear()

    def _tile(self, level: int, index: int) -> UInt8:
        pixels = self._cache.get((level, index))
        if pixels is None:
            matrix = self._levels[level]
            frame = matrix.frame(index)
            if frame is None:
                return np.full((matrix.grid.height, matrix.grid.width, 3), 255, np.uint8)
            (data,) = self._frames.fetch([frame])
            with damage_told(str(self._url)):
                pixels = self._decode(data, matrix)
            self._cache.put((level, index), pixels)
        return pixels


def _mpp(header: Header) -> tuple[float, float] | None:
    """Micrometers per pixel along x and y, from the spacing of rows and of columns in millimeters."""
    for groups in header.items("SharedFunctionalGroupsSequence"):
        for measures in groups.items("PixelMeasuresSequence"):
            spacing = [positive(str(value)) for value in measures.values("PixelSpacing")]
            if len(spacing) == 2 and spacing[0] and spacing[1]:
                return spacing[1] * 1000, spacing[0] * 1000
    return None
