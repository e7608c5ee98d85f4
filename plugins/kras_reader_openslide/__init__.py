"""Reader `openslide`: the formats of the OpenSlide library."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from kras_plugins import ReaderOptions, ReaderPlugin, SlideSource, hookimpl, tuning


class OpenSlideOptions(ReaderOptions):
    """Options of the reader `openslide`."""

    icc: Literal["ignore", "srgb"] = Field(
        "ignore",
        description="`srgb` converts colors by the scanner's ICC profile where the file has one; "
        "this changes every feature, and published encoders were trained without",
    )
    cache_mb: int = tuning(128, ge=1, description="MiB of decoded tiles kept per open slide, shared by all threads")


def _open(path: Path, options: OpenSlideOptions) -> SlideSource:
    from kras_reader_openslide.source import OpenSlideSource

    return OpenSlideSource(path, options.icc, options.cache_mb)


@hookimpl
def kras_readers() -> Iterable[ReaderPlugin]:
    """Offer the reader."""
    suffixes = ".svs .tif .tiff .ndpi .vms .vmu .scn .mrxs .svslide .bif .dcm .czi"
    yield ReaderPlugin(
        name="openslide",
        summary="slides of Aperio, Hamamatsu, Leica, MIRAX, Philips, Ventana and others, DICOM, tiled TIFF",
        options=OpenSlideOptions,
        suffixes=tuple(suffixes.split()),
        open=_open,
    )
