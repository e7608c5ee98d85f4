"""Levels of a slide from the headers of a series: which frame of which instance is which tile (DICOM PS3.3, C.8.12)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from pydicom.uid import UID_dictionary

from kras_plugins import ContentError, SlideError, Url
from kras_plugins.slides.grid import Grid
from kras_plugins.slides.tiff import MAX_SEGMENT_PX, same_proportions
from kras_reader_dicomweb.header import Header
from kras_reader_dicomweb.service import Frame

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class of VL whole slide microscopy images."""
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
ONE_PLANE = "export one focal plane of one optical path as a series of its own"


class Run(NamedTuple):
    """Tiles `first`, `first + 1`, … of a level, as many as `frames`: frames `number`, … of an instance."""

    first: int
    frames: int
    instance: str
    number: int


@dataclass(frozen=True)
class Matrix:
    """A level: `width` x `height` pixels in tiles of a `grid`; `photometric` says what the samples of a frame are.

    `planar`: uncompressed frames have one color after the other.
    """

    width: int
    height: int
    grid: Grid
    photometric: str
    planar: bool
    runs: tuple[Run, ...] = ()

    def frame(self, index: int) -> Frame | None:
        """The frame of a tile; None if the level has none there."""
        at = bisect_right(self.runs, index, key=lambda run: run.first) - 1
        if at < 0 or index >= self.runs[at].first + self.runs[at].frames:
            return None
        run = self.runs[at]
        return run.instance, run.number + index - run.first


def volumes(headers: Sequence[Header], url: Url) -> list[Header]:
    """The instances of the slide itself, without labels, overviews and thumbnails. ContentError if there are none."""
    slides = [h for h in headers if h.text("SOPClassUID") == WHOLE_SLIDE]
    if not slides:
        names = {UID_dictionary.get(h.text("SOPClassUID"), ["something unknown"])[0] for h in headers}
        kinds = sorted(names) or ["nothing"]
        raise ContentError(
            f"{url}: not a series of whole-slide images (it has {', '.join(kinds)})", "check the address in the cohort"
        )
    found = [h for h in slides if h.values("ImageType")[2:3] == ["VOLUME"]]
    if not found:
        raise ContentError(
            f"{url}: contains only labels, overviews or thumbnails", "name the series of the slide in the same study"
        )
    return found


def levels_of(instances: Sequence[Header], url: Url) -> list[Matrix]:
    """The levels, finest first. Raises ContentError where they are not one slide in color, else what Header does."""
    parts: dict[Matrix, list[Run]] = {}
    for header in instances:
        matrix = _matrix(header, url)
        parts.setdefault(matrix, []).extend(_runs(header, matrix, url))
    found = sorted(
        (replace(matrix, runs=tuple(sorted(runs))) for matrix, runs in parts.items()),
        key=lambda m: -m.width * m.height,
    )
    for level in found:
        if any(a.first + a.frames > b.first for a, b in pairwise(level.runs)):
            raise ContentError(f"{url}: has several frames in one place: focal planes or optical paths", ONE_PLANE)
    sizes = [(level.width, level.height) for level in found]
    if len(set(sizes)) < len(sizes) or not all(same_proportions(size, sizes[0]) for size in sizes[1:]):
        shown = ", ".join(f"{w} x {h}" for w, h in sizes)
        raise ContentError(f"{url}: its images ({shown} pixels) are not levels of one slide", ONE_PLANE)
    return found


def _matrix(header: Header, url: Url) -> Matrix:
    photometric = header.text("PhotometricInterpretation")
    samples, bits = header.number("SamplesPerPixel"), header.number("BitsAllocated")
    if photometric not in COLOR or (samples, bits) != (3, 8):
        raise ContentError(
            f"{url}: has {samples} x {bits} bit {photometric or 'samples'}, not 8-bit color",
            "H&E is read in color: scan it in brightfield",
        )
    width, height = header.number("TotalPixelMatrixColumns"), header.number("TotalPixelMatrixRows")
    across, down = header.number("Columns"), header.number("Rows")
    if not min(width, height, across, down) > 0 or across * down > MAX_SEGMENT_PX:
        raise SlideError(
            f"{url}: states {width} x {height} pixels in tiles of {across} x {down}", "the server's copy is damaged"
        )
    planar = header.number("PlanarConfiguration", 0) == 1
    return Matrix(width, height, Grid(across, down, -(-width // across)), photometric, planar)


def _runs(header: Header, matrix: Matrix, url: Url) -> Iterator[Run]:
    """Where the frames of an instance lie."""
    instance, frames = header.text("SOPInstanceUID"), header.number("NumberOfFrames", 1)
    if not re.fullmatch("[0-9.]+", instance):  # it becomes part of an address
        raise ValueError("an instance without UID")
    tiles = matrix.grid.columns * -(-matrix.height // matrix.grid.height)
    if not _is_sparse(header):
        first = header.number("ConcatenationFrameOffsetNumber", 0)
        if first + frames > tiles:
            raise ContentError(
                f"{url}: has {first + frames} frames for {tiles} tiles: focal planes or optical paths", ONE_PLANE
            )
        yield Run(first, frames, instance, 1)
        return
    places = header.items("PerFrameFunctionalGroupsSequence")
    if len(places) != frames:
        raise ValueError(f"{frames} frames with {len(places)} positions")
    for number, place in enumerate(places, start=1):
        (at,) = place.items("PlanePositionSlideSequence")
        x = at.number("ColumnPositionInTotalImagePixelMatrix") - 1
        y = at.number("RowPositionInTotalImagePixelMatrix") - 1
        if not (0 <= x < matrix.width and 0 <= y < matrix.height):
            raise ValueError(f"frame {number} lies outside of the slide")
        if x % matrix.grid.width or y % matrix.grid.height:
            raise SlideError(f"{url}: its frames overlap, or lie off their grid", "export it with TILED_FULL")
        yield Run(y // matrix.grid.height * matrix.grid.columns + x // matrix.grid.width, 1, instance, number)


def _is_sparse(header: Header) -> bool:
    """Whether frames state their positions; else they follow each other, row by row."""
    stated = header.text("DimensionOrganizationType")
    if stated in ("TILED_FULL", "TILED_SPARSE"):
        return stated == "TILED_SPARSE"
    first = header.items("PerFrameFunctionalGroupsSequence")[:1]
    return bool(first and first[0].values("PlanePositionSlideSequence"))
