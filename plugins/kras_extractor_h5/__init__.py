"""Extractor `h5`: bags made elsewhere by TRIDENT, CLAM, STAMP or `kras embed`; never opens pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from kras_plugins import Bag, ExtractorPlugin, Options, SlideRef, hookimpl, tuning


class H5Options(Options):
    """Options of extractor `h5`."""

    # The place of files does not affect the result: their content enters store keys and bundles.
    folder: Path | None = tuning(
        None,
        description="folder of .h5 files, found by the slide_id that they state, else by name (SLIDE_ID.h5, with or "
        "without TCGA's UUID); without it the cohort's `path` column names them",
    )
    encoder: str = Field(
        "",
        description="name of the encoder, where the files do not state it; bags of different encoders are never mixed",
    )
    mpp: float | None = Field(None, gt=0, description="µm per pixel of the tiles, where the files do not state it")
    px: int | None = Field(None, gt=0, description="tile side in pixels, where the files do not state it")
    overlap: int | None = Field(
        None, ge=0, description="pixels that neighboring tiles share, where the files do not state it"
    )


def _load(slide: SlideRef, options: H5Options) -> Bag:
    from kras_extractor_h5.files import load

    return load(slide, options)


@hookimpl
def kras_extractors() -> Iterable[ExtractorPlugin]:
    """Yield `h5`."""
    yield ExtractorPlugin(
        name="h5",
        summary="tile features made elsewhere: .h5 files of TRIDENT, CLAM, STAMP or `kras embed`",
        options=H5Options,
        load=_load,
    )
