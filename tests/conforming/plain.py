"""An extractor without a network: mean color of the tile."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kras_plugins import ExtractorPlugin, Options, TileSpec, hookimpl


class PlainOptions(Options):
    scale: float = Field(1.0, gt=0, description="what means are multiplied by")


def tile(options):
    return TileSpec(px=32, mpp=2.0)


def create(options, infer):
    def embed(tiles):
        return np.float32(options.scale) * tiles.astype(np.float32).mean(axis=(1, 2))

    return embed


@hookimpl
def kras_extractors():
    yield ExtractorPlugin(
        name="plain", summary="mean color", options=PlainOptions, tile=tile, dim=lambda options: 3, create=create
    )
