"""Tiles -> semantic map: stream a slide's tiles through a profiler, decode them in worker processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.profiler import Outputs, ProfilerPlugin, Tile
from kras_plugins.errors import plugin_boundary
from kras_plugins.isolation import ask, thread_pool
from kras_plugins.parts import Part
from kras_plugins.semantics.collect import CellWriter, Placement, Placements, decode_lent, received
from kras_plugins.semantics.handover import Handover
from kras_plugins.semantics.map import CELLS, TissueCanvas, finish_map
from kras_plugins.semantics.raster import raster_over
from kras_plugins.semantics.seams import Seams
from kras_plugins.slides.qc import blurred
from kras_plugins.slides.stream import TileBatch, ordered_map, stream_tiles
from kras_plugins.slides.tiles import cover_grid

if TYPE_CHECKING:
    from kras_plugins.data import Bool
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.tissue import TissueMask
    from kras_plugins.workers import Workers

    OnTiles = Callable[[str, int, int], None]


def profile_slide(
    slide: Slide,
    tissue: TissueMask,
    part: Part,
    folder: Path,
    threads: int,
    decode_pool: Workers,
    on_tiles: OnTiles,
) -> Bool:
    """Write a semantic map into `folder`, cells as they come, and return the focus flag of every tile, bool[tile].

    `decode_pool`: worker processes. Raises PluginError when the profiler fails or breaks its contract.
    """
    record = part.provided.record
    assert isinstance(record, ProfilerPlugin) and record.tile is not None
    who, spec = part.provided.id, part.tile
    provides = ask(who, lambda: frozenset(record.provides(part.options)))
    grid = cover_grid(slide, tissue, spec)
    size_um = (slide.size[0] * slide.mpp[0], slide.size[1] * slide.mpp[1])
    canvas = TissueCanvas(raster_over(*size_um))
    flags = np.zeros(len(grid), np.bool_)
    placements = Placements(grid, slide.mpp)

    made = part.made

    def predict(batch: TileBatch) -> list[tuple[int, Tile, Outputs]]:
        with plugin_boundary(who):
            outputs = made.predict(batch.pixels)
            by_tile = [{k: v[i] for k, v in outputs.items()} for i in range(len(batch.pixels))]
        flags[batch.first : batch.first + len(batch.pixels)] = blurred(batch.pixels, grid.spec.mpp)
        return [
            (batch.first + i, Tile(pixels=pixels, mpp=grid.spec.mpp), by_tile[i])
            for i, pixels in enumerate(batch.pixels)
        ]

    def decode(item: tuple[int, Tile, Outputs]) -> tuple[Placement, Any, Any]:
        index, tile, outputs = item
        where = placements[index]
        with plugin_boundary(who), handover.lend([tile.pixels, *outputs.values()]) as lent:
            job = (made.decode, tuple(outputs), lent, tile.mpp, where, canvas.raster)
            cells, patch = decode_pool.run(who, decode_lent, *job)
            return where, received(cells), patch

    # Threads only wait for worker processes, so there may be more of them than cores.
    ahead = 2 * threads
    seams = Seams()
    with (
        Handover() as handover,
        closing(stream_tiles(slide, grid, batch=part.batch, threads=threads)) as batches,
        thread_pool(part.in_flight, "kras-predict") as models,
        thread_pool(ahead, "kras-decode") as waiting,
        CellWriter(folder / CELLS) as writer,
    ):
        predicted = ordered_map(models, predict, batches, ahead=part.in_flight + 1, plugin=who)
        tiles = (item for items in predicted for item in items)
        for done, (where, cells, patch) in enumerate(ordered_map(waiting, decode, tiles, ahead=ahead), start=1):
            writer.write(seams.once(cells, where))
            canvas.paste(patch)
            on_tiles("profile", done, len(grid))
    finish_map(
        folder,
        slide_id=slide.ref.slide_id,
        canvas=canvas,
        tissue_mask=tissue.mask,
        size_um=size_um,
        grid=grid,
        mpp=slide.mpp,
        provides=provides,
        source=part.identity,
    )
    return flags
