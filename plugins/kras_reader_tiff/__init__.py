"""Reader `tiff`: OME-TIFF and other TIFF through tifffile, and plain PNG or JPEG fields."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kras_plugins import ReaderOptions, ReaderPlugin, RemoteFile, RemoteSource, SlideSource, hookimpl, tuning

FIELDS = (".png", ".jpg", ".jpeg")


class TiffOptions(ReaderOptions):
    """Options of the reader `tiff`."""

    cache_mb: int = tuning(128, ge=1, description="MiB of decoded tiles kept per open slide, shared by all threads")


def _open(path: Path, options: TiffOptions) -> SlideSource:
    if path.name.lower().endswith(FIELDS):
        from kras_reader_tiff.field import FieldSource

        return FieldSource(path)
    from kras_reader_tiff.source import TiffSource

    return TiffSource(path, options.cache_mb)


def _open_remote(file: RemoteFile, options: TiffOptions) -> RemoteSource:
    if file.name.lower().endswith(FIELDS):
        from kras_reader_tiff.field import FieldSource

        return FieldSource(file.where, file)
    from kras_reader_tiff.source import TiffSource

    return TiffSource(file.where, options.cache_mb, file)


@hookimpl
def kras_readers() -> Iterable[ReaderPlugin]:
    """Offer the reader."""
    yield ReaderPlugin(
        name="tiff",
        summary="SVS, OME-TIFF, pyramids that OpenSlide refuses, and PNG or JPEG fields (these need mpp)",
        options=TiffOptions,
        # Aperio's files: the same pixels as from OpenSlide, in a quarter of the CPU time (docs/decisions/0006).
        preferred=(".svs",),
        suffixes=(".ome.tif", ".ome.tiff", ".tif", ".tiff", ".svs", *FIELDS),
        open=_open,
        open_remote=_open_remote,
    )
