"""Reader `dicomweb`: a series of whole-slide images on a DICOMweb server; it fetches only the frames it needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kras_plugins import AddressSource, ReaderOptions, ReaderPlugin, Url, hookimpl, location, tuning

ADDRESS = r"(?i:https?)://(?P<base>[^?#]+)/studies/(?P<study>[0-9.]+)/series/(?P<series>[0-9.]+)/?"


class DicomWebOptions(ReaderOptions):
    """Options of the reader `dicomweb`."""

    cache_mb: int = tuning(128, ge=1, description="MiB of decoded tiles kept per open slide, shared by all threads")
    frames: int = tuning(16, ge=1, le=256, description="most frames that one request asks for")
    tokens: Path | None = location(
        None,
        description='a TOML file that only you can read, with a line `"HOST" = "TOKEN"` for each server that needs a '
        "bearer token; read again for each request",
    )


def _open(url: Url, options: DicomWebOptions) -> AddressSource:
    from kras_reader_dicomweb.source import DicomWebSource

    return DicomWebSource(url, options)


@hookimpl
def kras_readers() -> Iterable[ReaderPlugin]:
    """Offer the reader."""
    yield ReaderPlugin(
        name="dicomweb",
        summary="series of whole-slide images on DICOMweb servers, by address: …/studies/STUDY/series/SERIES",
        options=DicomWebOptions,
        addresses=ADDRESS,
        open_address=_open,
    )
