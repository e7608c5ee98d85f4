"""Which of a TIFF's images is the slide, by its tags alone.

Shared by all readers of TIFF: a file that contains several slides, focal planes or channels, or no 8-bit color, is
refused, because half of it, or pixels that no scanner saw, would look like a slide.
"""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffFileError, TiffPage

from kras_plugins.errors import ContentError, SlideError
from kras_plugins.slides.ome import OmeImage, ome_images

# tifffile logs everything that it finds odd, line after line; what matters is raised here.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

DAMAGE = (
    ValueError, RuntimeError, OSError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
    struct.error, ParseError, MemoryError, TiffFileError,
)  # fmt: skip
"""What tifffile and imagecodecs raise on bad bytes; codec errors are RuntimeErrors."""
MAX_PAGES = 1000
"""Directories that are read at most: slides have some ten, stacks from microscopes more, loops no end."""
MAX_SEGMENT_PX = 1 << 26
"""Largest tile or compressed strip that is decoded to read a region."""
SCENE_SHARE = 1 / 8
"""Share of the largest image's pixels from which another image cannot be a label, macro image or thumbnail."""
SAME_SCALE = 0.05
"""Relative difference of µm per pixel up to which two images of a file are scans at one magnification."""
ASSOCIATED = re.compile(r"label|macro|overview|thumb|preview", re.IGNORECASE)
"""Names of images that belong to a slide and show the glass."""
RETILE = "export it as 8-bit RGB with tiles, for example with `vips tiffsave IN OUT.tif --tile --pyramid`"
REDUCED, MASK = 1, 4
"""Bits of the tag NewSubfileType."""


@dataclass(frozen=True)
class TiffImage:
    """The slide in a TIFF: `levels`, tifffile's pages, finest first; `ome` where OME-XML describes the finest."""

    levels: tuple[Any, ...]
    ome: OmeImage | None


@dataclass(frozen=True)
class _Found:
    """A page; `parent` is the page whose SubIFD it is."""

    page: Any
    parent: Any = None

    @property
    def reduced(self) -> bool:
        return self.parent is not None or bool(self.page.subfiletype & REDUCED)

    @property
    def area(self) -> int:
        return int(self.page.imagewidth * self.page.imagelength)


@contextmanager
def damage_told(path: Path | str) -> Iterator[None]:
    """Turn what tifffile and codecs raise on bad bytes into a SlideError that names the file."""
    try:
        yield
    except DAMAGE as e:
        text = " ".join(str(e).split()) or type(e).__name__
        raise SlideError(
            f"{path}: cannot be read ({text})", "the file is damaged or unsupported; copy or export it again"
        ) from e


def find_image(tif: Any, path: Path | str) -> TiffImage:
    """The one image of an open tifffile.TiffFile with the levels of its pyramid.

    Raises ContentError where the file holds several slides or planes, or none in 8-bit RGB or YCbCr; SlideError where
    it is damaged. No pixels are read, and no other file is opened, whatever OME-XML names.
    """
    with damage_told(path):
        found = [f for f in _pages(tif, path) if not f.page.subfiletype & MASK]
        if not found or any(f.area <= 0 for f in found):  # left out, the slide could be taken for one of its levels
            raise SlideError(f"{path}: has no pixels, or an image of no size", "the file is damaged; export it again")
        main = max(found, key=lambda f: f.area)
        if tif.is_svs and main.page.is_tiled:  # what lies in strips is a thumbnail, a label or a macro image
            found = [f for f in found if f.page.is_tiled]
        described = {o.size: o for o in reversed(list(ome_images(tif.ome_metadata) if tif.is_ome else []))}
        own = described.get(_size(main.page))
        _check_color(main.page, path)
        _check_planes(found, main, own, path)
        levels = [main]
        for i, f in enumerate(found):
            marked = f.reduced or tif.is_svs
            other = described.get(_size(f.page))
            if _is_level(f, main) and (marked or (i > found.index(main) and _is_halved(f, main, own, other))):
                levels.append(f)
            elif f is not main and not f.reduced and _is_scene(f, main, own, other):
                raise ContentError(
                    f"{path}: contains several images, of {_show(main.page)} and {_show(f.page)} pixels, not one slide",
                    "export each of them as a file of its own and give both the same patient_id",
                )
        pages = {_size(f.page): f.page for f in reversed(levels)}  # of two of one size the first
        for page in pages.values():
            _check_segments(page, path)
        return TiffImage(tuple(sorted(pages.values(), key=lambda p: -p.imagewidth * p.imagelength)), own)


def check_tiles(tif: Any, path: Path | str) -> None:
    """Raise SlideError where tiles of any image state more pixels or bytes than is plausible.

    OpenSlide allocates memory for both as they are stated, and ends the process where there is not enough. Whatever
    tifffile cannot read in a vendor's file is skipped.
    """
    with suppress(*DAMAGE):
        for f in _pages(tif, path):
            if f.page.is_tiled:
                _check_extent(f.page, path)


def alpha_of(page: Any) -> EXTRASAMPLE | None:
    """How the fourth sample of a page states transparency; None without one, or with one of unknown meaning."""
    alpha = page.extrasamples[0] if page.extrasamples and page.samplesperpixel == 4 else None
    return alpha if alpha in (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA) else None


def tag_name(kind: Any, value: int) -> str:
    """Name of a tag's value, or the number where it is unknown."""
    return kind(value).name if value in kind.__members__.values() else str(int(value))


def _pages(tif: Any, path: Path | str) -> list[_Found]:
    """All directories and their SubIFDs. The chain is walked here: tifffile follows a long loop without end."""
    found: list[_Found] = []
    seen: set[int] = set()

    def add(offset: int, index: int | tuple[int, int], parent: Any = None) -> Any:
        if offset in seen:
            raise SlideError(f"{path}: its directories run in a loop", "the file is damaged; export it again")
        if len(seen) == MAX_PAGES:
            raise ContentError(f"{path}: contains more than {MAX_PAGES} images, not one slide", RETILE)
        seen.add(offset)
        tif.filehandle.seek(offset)
        page = TiffPage(tif, index)
        if not (isinstance(page.imagewidth, int) and isinstance(page.imagelength, int) and page.samplesperpixel > 0):
            raise ValueError("a size that is not a whole number")
        found.append(_Found(page, parent))
        return page

    offset, index = tif.pages.first.offset, 0
    while offset:
        page = add(offset, index)
        for i, sub in enumerate(page.subifds or ()):
            add(sub, (index, i), page)
        offset, index = _next_offset(tif, offset), index + 1
    return found


def _next_offset(tif: Any, offset: int) -> int:
    """Where the directory after the one at `offset` begins; 0 after the last."""
    file, layout = tif.filehandle, tif.tiff
    file.seek(offset)
    (count,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(offset + layout.tagnosize + count * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return int(following)


def _size(page: Any) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _show(page: Any) -> str:
    return f"{page.imagewidth} x {page.imagelength}"


def _is_color(page: Any) -> bool:
    samples = {PHOTOMETRIC.RGB: (3, 4), PHOTOMETRIC.YCBCR: (3,)}.get(page.photometric, ())
    return page.samplesperpixel in samples and page.bitspersample == 8 and page.sampleformat == 1


def _check_color(page: Any, path: Path | str) -> None:
    """Raise ContentError describing the pixels, unless they are 8-bit color stored upright."""
    if _is_color(page):
        turned = page.tags.valueof("Orientation", 1)
        if turned != 1:  # readers differ in how they handle it, down to turning each tile by itself
            raise ContentError(f"{path}: is stored turned or mirrored (Orientation {turned})", f"turn it, and {RETILE}")
        return
    kind, bits = page.photometric, page.bitspersample
    has = f"{page.samplesperpixel} x {bits} bit {tag_name(PHOTOMETRIC, kind)}"
    if page.sampleformat == 3:
        what, do = "floating-point numbers", "scale them to 0 to 255"
    elif kind in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK):
        what = "black and white" if bits == 1 else "a gray image or one channel"
        do = "H&E is read in color: scan it in brightfield"
    elif kind == PHOTOMETRIC.PALETTE:
        what, do = "colors of a palette", "measurements need the colors that were scanned"
    elif kind == PHOTOMETRIC.SEPARATED:
        what, do = "inks for printing (CMYK)", "measurements need the colors that were scanned"
    elif isinstance(bits, int) and bits > 8:
        what, do = "deep color (16 bits, or 10 to 14 stored in them)", "scale it to 0 to 255"
    else:
        what, do = "samples of another kind", "measurements need the colors that were scanned"
    raise ContentError(f"{path}: has {has}: {what}, not 8-bit RGB", f"{do}, and {RETILE}")


def _check_planes(found: Sequence[_Found], main: _Found, own: OmeImage | None, path: Path | str) -> None:
    """Raise ContentError where the main image is one of several of its size: focal planes, channels, times."""
    page = main.page
    alike = sum(_size(f.page) == _size(page) for f in found)
    axes = ""
    if own is not None:
        channels = max(1, own.samples // page.samplesperpixel)
        alike = max(alike, own.depth * own.times * channels)
        axes = f" (focal planes {own.depth}, channels {channels}, times {own.times})"
    text = page.description if isinstance(page.description, str) else ""
    if image_j := re.match(r"ImageJ=[^\n]*\nimages=(\d{1,9})\b", text):  # all planes may lie behind one directory
        alike = max(alike, int(image_j[1]))
    elif shaped := re.match(r'\{"shape": \[([\d, ]{1,200})\]', text):
        alike = max(alike, math.prod(map(int, shaped[1].split(","))) // (main.area * page.samplesperpixel))
    alike = max(alike, page.imagedepth)
    if alike > 1:
        raise ContentError(
            f"{path}: has {alike} planes or scenes of {_show(page)} pixels{axes}, not one RGB image",
            "export one focal plane of one scene as RGB",
        )


def _is_level(f: _Found, main: _Found) -> bool:
    """Whether a page can be the main image, smaller."""
    page, top = f.page, main.page
    if f.parent is not None and f.parent is not top:
        return False
    alike = _is_color(page) and page.samplesperpixel == top.samplesperpixel and page.is_tiled == top.is_tiled
    return alike and f.area < main.area and same_proportions(_size(page), _size(top))


def _is_halved(f: _Found, main: _Found, own: OmeImage | None, other: OmeImage | None) -> bool:
    """Whether a page not marked as a level is a half, a third … of the main image, in µm per pixel as well."""
    small, large = _size(f.page), _size(main.page)
    ratio = round(large[0] / small[0])
    if ratio < 2 or any(abs(b / ratio - a) > 1 for a, b in zip(small, large, strict=True)):
        return False
    if own is None or other is None or own.mpp is None or other.mpp is None:
        return True
    return abs(other.mpp[0] / (own.mpp[0] * ratio) - 1) < SAME_SCALE


def _is_scene(f: _Found, main: _Found, own: OmeImage | None, other: OmeImage | None) -> bool:
    """Whether a page that is not a level is a slide of its own rather than a picture of the glass."""
    if other is not None and ASSOCIATED.search(other.name):
        return False
    if own and other and own.mpp and other.mpp and abs(other.mpp[0] / own.mpp[0] - 1) < SAME_SCALE:
        return True
    return f.area >= SCENE_SHARE * main.area


def same_proportions(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Whether one size is the other one scaled, up to a pixel or a hundredth."""
    ratios = [(b / (a + 1), b / a, b / max(a - 1, 0.5)) for a, b in zip(small, large, strict=True)]
    (low_x, x, high_x), (low_y, y, high_y) = ratios
    return abs(x / y - 1) < 0.01 or (low_x <= high_y and low_y <= high_x)


def _check_segments(page: Any, path: Path | str) -> None:
    """Raise SlideError where the tags cannot describe pixels: what they declare is never trusted unchecked."""
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise SlideError(f"{path}: states tiles of {width} x {height} pixels", "the file is damaged; export it again")
    needed = -(-page.imagewidth // width) * -(-page.imagelength // height)
    needed *= page.samplesperpixel if page.planarconfig == 2 else 1
    listed = min(len(page.dataoffsets), len(page.databytecounts))
    if listed < needed or (page.is_tiled and listed > needed):  # tiles of another size would lie in wrong places
        raise SlideError(
            f"{path}: states {_show(page)} pixels and lists {listed} of {needed} tiles or strips",
            "the file is damaged; copy it again from its source",
        )
    _check_extent(page, path)
    _check_raw(page, path, width, height)


def _check_raw(page: Any, path: Path | str, width: int, height: int) -> None:
    """Raise SlideError where a piece of an uncompressed image has fewer bytes than pixels: it is compressed, or cut."""
    if page.compression != COMPRESSION.NONE:
        return
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    last = height if page.is_tiled else page.imagelength - (-(-page.imagelength // height) - 1) * height
    least = min((count for count in page.databytecounts if count), default=0)
    if 0 < least < width * min(last, height) * samples:
        raise SlideError(
            f"{path}: is said to be uncompressed, but a tile or strip of {width} x {height} pixels has {least} bytes",
            "the file is damaged; export it again",
        )


def _check_extent(page: Any, path: Path | str) -> None:
    """Raise SlideError where tiles are larger than is ever decoded, or data lies beyond the end of the file."""
    if page.is_tiled and page.tilewidth * page.tilelength > MAX_SEGMENT_PX:
        raise SlideError(f"{path}: is stored in pieces of {page.tilewidth} x {page.tilelength} pixels", RETILE)
    ends = (at + count for at, count in zip(page.dataoffsets, page.databytecounts, strict=False) if count)
    if max(ends, default=0) > page.parent.filehandle.size:
        raise SlideError(f"{path}: is truncated; its pixels lie beyond its end", "copy it again from its source")
