"""DICOM slides whose tiles lie nowhere: OpenSlide ends the process over them, so they are refused before it looks."""

from __future__ import annotations

import mmap
from pathlib import Path

from kras_plugins import SlideError

_MAGIC_AT, _MAGIC = 128, b"DICM"
_ORGANIZATION, _PER_FRAME, _PIXELS = b"\x20\x00\x11\x93CS", b"\x00\x52\x30\x92", b"\xe0\x7f\x10\x00"
"""Tags of DimensionOrganizationType, PerFrameFunctionalGroupsSequence and PixelData, as explicit VR has them."""


def check_places(path: Path) -> None:
    """Raise SlideError if a DICOM file, or one beside it, is tiled sparsely and does not state where its tiles lie.

    OpenSlide opens all files of a folder that belong to one series. Files of other formats are passed over.
    """
    if not _is_dicom(path):
        return
    for file in (path, *(f for f in path.parent.iterdir() if f != path and f.is_file() and _is_dicom(f))):
        with file.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.find(_PIXELS)
            end = len(content) if end < 0 else end
            at = content.find(_ORGANIZATION, 0, end)
            sparse = at >= 0 and content[at + 8 : at + 20] == b"TILED_SPARSE"
            if sparse and content.find(_PER_FRAME, 0, end) < 0:
                raise SlideError(
                    f"{file}: is tiled sparsely and does not state where its tiles lie",
                    "the file is damaged; export it again",
                )


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as f:
            return f.read(_MAGIC_AT + len(_MAGIC)).endswith(_MAGIC)
    except OSError:
        return False  # OpenSlide says why
