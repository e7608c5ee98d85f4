"""What tests of TIFF share: both bundled readers by name, noise, and headers made byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import kras_reader_openslide
import kras_reader_tiff
from kras_plugins import SlideError, SlideRef
from kras_plugins.host.parts import UsableReader
from kras_plugins.slides.slide import Slide, open_slide

__all__ = ["SlideError", "directory", "images", "level_zero", "long", "noise", "opened", "raw_tiff", "short"]

PLUGINS = (*kras_reader_openslide.kras_readers(), *kras_reader_tiff.kras_readers())
READERS = [UsableReader(plugin, plugin.options()) for plugin in PLUGINS]
WAYS = (None, "openslide", "tiff")
"""As a run opens a slide, and with each reader forced."""
TILED = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate"}


@contextmanager
def opened(path: Path, want: str | None = None, mpp: float | None = 0.5) -> Iterator[Slide]:
    with open_slide(SlideRef(patient_id="p", slide_id="s", path=path, mpp=mpp), READERS, want) as slide:
        yield slide


def level_zero(slide: Slide) -> np.ndarray:
    return slide.read((0, 0), slide.size, slide.mpp[0])


def noise(height: int, width: int, samples: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, samples), dtype=np.uint8)


def images(path: Path, pages: Sequence[tuple[np.ndarray, dict[str, Any]]], **options: Any) -> Path:
    """A TIFF of several pages, each with its own options."""
    with tifffile.TiffWriter(path, **options) as tif:
        for pixels, own in pages:
            tif.write(pixels, **{**TILED, **own})
    return path


Tag = tuple[int, int, bytes]
"""Type, count and value of a tag."""


def long(*values: int) -> Tag:
    return 4, len(values), struct.pack(f"<{len(values)}I", *values)


def short(*values: int) -> Tag:
    return 3, len(values), struct.pack(f"<{len(values)}H", *values)


def directory(**changed: Tag | None) -> dict[int, Tag]:
    """Tags of a sound page of 60 x 60 pixels in one tile of 64, but for `t256=…`; None leaves a tag out."""
    tags = {
        256: long(60), 257: long(60), 258: short(8, 8, 8), 259: short(1), 262: short(2), 277: short(3), 284: short(1),
        322: long(64), 323: long(64), 324: long(8), 325: long(64 * 64 * 3),
    }  # fmt: skip
    new = {int(name[1:]): value for name, value in changed.items()}
    return {code: tag for code, tag in (tags | new).items() if tag is not None}


def raw_tiff(path: Path, pages: Sequence[dict[int, Tag]], following: Sequence[int]) -> Path:
    """Directories after 16 KiB of pixels; `following[i]` is the page, or the offset above 10000, after page i."""
    out = bytearray(b"II*\0" + bytes(4) + bytes(range(256)) * 64)
    out[4:8] = struct.pack("<I", len(out))
    offsets, links = [], []
    for tags in pages:
        offsets.append(len(out))
        entries, extra, after = b"", b"", len(out) + 2 + 12 * len(tags) + 4
        for code, (kind, count, value) in sorted(tags.items()):
            entries += struct.pack("<HHI", code, kind, count)
            entries += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", after + len(extra))
            extra += value if len(value) > 4 else b""
        links.append(len(out) + 2 + len(entries))
        out += struct.pack("<H", len(tags)) + entries + bytes(4) + extra
    for at, page in zip(links, following, strict=True):
        out[at : at + 4] = struct.pack("<I", 0 if page < 0 else page if page > 10000 else offsets[page])
    path.write_bytes(out)
    return path
