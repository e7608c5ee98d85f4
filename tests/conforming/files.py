"""An extractor that loads features from .npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from kras_plugins import Bag, ExtractorPlugin, Options, SlideError, TileSpec, hookimpl


class FilesOptions(Options):
    folder: Path = Field(Path(), description="where SLIDE_ID.npy lie")


def load(slide, options):
    file = options.folder / f"{slide.slide_id}.npy"
    if not file.is_file():
        raise SlideError(f"{file}: no such file", "make it")
    features = np.load(file)
    xy = np.zeros((len(features), 2), np.int32)
    return Bag(
        slide_id=slide.slide_id, features=features, xy=xy, size=(64.0, 64.0), tile_spec=TileSpec(px=32, mpp=2.0),
        encoder="files/1", transform_hash="none",
    )  # fmt: skip


@hookimpl
def kras_extractors():
    yield ExtractorPlugin(name="files", summary="features from files", options=FilesOptions, load=load)
