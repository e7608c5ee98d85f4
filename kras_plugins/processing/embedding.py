"""Tiles -> bag: stream a slide's tiles through an extractor, memory flat, the model kept busy."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.bags import write_bag
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.data import Bag
from kras_plugins.errors import BackendError, PluginError, SlideError, plugin_boundary
from kras_plugins.host.isolation import ask, thread_pool
from kras_plugins.host.parts import Part
from kras_plugins.slides.qc import blurred
from kras_plugins.slides.stream import OnTiles, TileBatch, ordered_map
from kras_plugins.slides.tiles import tile_grid

if TYPE_CHECKING:
    from kras_plugins.data import Bool
    from kras_plugins.processing.reading import Tiles
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.tissue import TissueMask


def embed_slide(slide: Slide, tissue: TissueMask, part: Part, folder: Path, tiles: Tiles, on_tiles: OnTiles) -> Bool:
    """Write `bag.h5` into `folder` and return every tile's focus flag, bool[tile]; blurred ones stay out of the bag.

    Raises SlideError when no tile holds enough tissue, PluginError when the extractor breaks its contract,
    BackendError when features are not finite.
    """
    record = part.provided.record
    assert isinstance(record, ExtractorPlugin)
    who, spec, dim = part.provided.id, part.tile, ask(part.provided.id, record.length, part.options)
    grid = tile_grid(slide, tissue, spec)
    if not len(grid):
        raise SlideError(
            f"{slide.ref.place}: no tile of {spec.px} px at {spec.mpp:g} µm/px is half tissue",
            "the tissue is smaller than a tile; use a smaller tile or another slide",
        )
    flags = np.zeros(len(grid), np.bool_)
    sharp = folder / "sharp.f32"

    embed = part.made

    def run(batch: TileBatch) -> tuple[Any, Any]:
        with plugin_boundary(who):
            features = embed(batch.pixels)
        if not isinstance(features, np.ndarray):
            raise PluginError(f"{who} gave {type(features).__name__}, not an array", "this is a fault of the plug-in")
        if features.shape != (len(batch.pixels), dim) or features.dtype != np.float32:
            raise PluginError(
                f"{who} gave {features.dtype}{features.shape} for {len(batch.pixels)} tiles, "
                f"its dim says float32 ({len(batch.pixels)}, {dim})",
                "this is a fault of the plug-in",
            )
        if not np.isfinite(features).all():
            raise BackendError(f"{who}: NaN or infinite features on {slide.ref.slide_id}", "try precision f32")
        return features, blurred(batch.pixels, grid.spec.mpp)

    done = 0
    with (
        closing(tiles(grid, part.batch)) as batches,
        thread_pool(part.in_flight, "kras-embed") as pool,
        sharp.open("wb") as out,
    ):
        for features, blur in ordered_map(pool, run, batches, ahead=part.in_flight + 1, plugin=who):
            out.write(np.ascontiguousarray(features[~blur]).tobytes())
            flags[done : done + len(blur)] = blur
            done += len(blur)
            on_tiles("embed", done, len(grid))
    kept = int((~flags).sum())
    if kept:
        features = np.memmap(sharp, np.float32, "r", shape=(kept, dim))
    else:
        # An out-of-focus slide fails quality control later, with its numbers; here it is just an empty bag.
        features = np.empty((0, dim), np.float32)
    bag = Bag(
        slide_id=slide.ref.slide_id,
        features=features,
        xy=grid.xy[~flags],
        size=grid.size,
        tile_spec=grid.spec,
        encoder=part.identity,
        transform_hash="+".join(part.facts["transforms"].values()) or "none",
    )
    write_bag(folder / "bag.h5", bag)
    del bag
    del features
    sharp.unlink()
    return flags
