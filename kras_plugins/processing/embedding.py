"""Tiles -> bags: stream a slide's tiles through extractors, memory flat, the models kept busy."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.bags import write_bag
from kras_plugins.contracts.extractor import ExtractorPlugin
from kras_plugins.data import Bag
from kras_plugins.errors import BackendError, PluginError, SlideError, plugin_boundary
from kras_plugins.host.isolation import ask, thread_pool
from kras_plugins.host.parts import Part
from kras_plugins.processing.focus import out_of_focus
from kras_plugins.processing.placement import Placements
from kras_plugins.slides.stream import OnTiles, TileBatch, ordered_map
from kras_plugins.slides.tiles import tile_grid

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float32, TileGrid, UInt8
    from kras_plugins.processing.reading import Tiles
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.tissue import TissueMask

BAG = "bag.h5"


def embed_slide(slide: Slide, tissue: TissueMask, into: Mapping[Path, Part], tiles: Tiles, on_tiles: OnTiles) -> Bool:
    """Write `bag.h5` into the folder of each extractor and return every tile's focus flag, bool[tile].

    The extractors want the same tiles, which are read once. The largest of their batches is a multiple of each, so
    that networks get the batches that they would get alone. Blurred tiles are left out of the bags.
    Raises SlideError when no tile contains enough tissue, PluginError when an extractor breaks its contract,
    BackendError when features are not finite.
    """
    parts = tuple(into.values())
    spec = parts[0].tile
    dims = [_length(part) for part in parts]
    grid = tile_grid(slide, tissue, spec)
    if not len(grid):
        raise SlideError(
            f"{slide.ref.place}: no tile of {spec.px} px at {spec.mpp:g} µm/px is half tissue",
            "the tissue is smaller than a tile; use a smaller tile or another slide",
        )
    flags = np.zeros(len(grid), np.bool_)
    sharp = [folder / "sharp.f32" for folder in into]
    for part in parts:
        part.made  # noqa: B018 - made here, so that what it raises is raised before a tile is read

    places = Placements(grid, slide.mpp, frame=slide.size if slide.field else None)

    def run(batch: TileBatch) -> tuple[list[Float32], Bool]:
        features = [_embedded(part, dim, batch.pixels, slide) for part, dim in zip(parts, dims, strict=True)]
        return features, out_of_focus(batch, places, grid.spec.mpp)

    done, ahead = 0, max(part.in_flight for part in parts)
    with (
        closing(tiles(grid, max(part.batch for part in parts))) as batches,
        thread_pool(ahead, "kras-embed") as pool,
        ExitStack() as files,
    ):
        out = [files.enter_context(file.open("wb")) for file in sharp]
        who = ", ".join(part.provided.id for part in parts)
        for features, blur in ordered_map(pool, run, batches, ahead=ahead + 1, plugin=who):
            for opened, own in zip(out, features, strict=True):
                opened.write(np.ascontiguousarray(own[~blur]).tobytes())
            flags[done : done + len(blur)] = blur
            done += len(blur)
            on_tiles("embed", done, len(grid))
    for part, dim, file in zip(parts, dims, sharp, strict=True):
        _write(slide, grid, flags, part, dim, file)
    return flags


def _length(part: Part) -> int:
    record = part.provided.record
    assert isinstance(record, ExtractorPlugin)
    return ask(part.provided.id, record.length, part.options)


def _embedded(part: Part, dim: int, pixels: UInt8, slide: Slide) -> Float32:
    """Features float32[tile feature] of uint8[tile h w 3], in the part's own batches."""
    who, embed, batch = part.provided.id, part.made, part.batch
    found = []
    for start in range(0, len(pixels), batch):
        given = pixels if len(pixels) <= batch else pixels[start : start + batch]
        with plugin_boundary(who):
            features = embed(given)
        if not isinstance(features, np.ndarray):
            raise PluginError(f"{who} gave {type(features).__name__}, not an array", "this is a fault of the plug-in")
        if features.shape != (len(given), dim) or features.dtype != np.float32:
            raise PluginError(
                f"{who} gave {features.dtype}{features.shape} for {len(given)} tiles, "
                f"its dim says float32 ({len(given)}, {dim})",
                "this is a fault of the plug-in",
            )
        if not np.isfinite(features).all():
            raise BackendError(f"{who}: NaN or infinite features on {slide.ref.slide_id}", "try precision f32")
        found.append(features)
    return found[0] if len(found) == 1 else np.concatenate(found)


def _write(slide: Slide, grid: TileGrid, flags: Bool, part: Part, dim: int, sharp: Path) -> None:
    """Make a bag of the features float32[tile feature] of sharp tiles in the file `sharp`, and remove that file."""
    kept = int((~flags).sum())
    # An out-of-focus slide fails quality control later, with its numbers; here it is just an empty bag.
    features: Float32 = np.empty((0, dim), np.float32)
    if kept:
        features = np.memmap(sharp, np.float32, "r", shape=(kept, dim))
    bag = Bag(
        slide_id=slide.ref.slide_id,
        features=features,
        xy=grid.xy[~flags],
        size=grid.size,
        tile_spec=grid.spec,
        encoder=part.identity,
        transform_hash="+".join(part.facts["transforms"].values()) or "none",
    )
    write_bag(sharp.with_name(BAG), bag)
    del bag
    del features
    sharp.unlink()
