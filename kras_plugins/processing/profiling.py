"""Tiles -> semantic map: stream a slide's tiles through a profiler, decode them in worker processes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.contracts.profiler import ProfilerPlugin
from kras_plugins.errors import plugin_boundary
from kras_plugins.host.isolation import ask, thread_pool
from kras_plugins.host.parts import Part
from kras_plugins.processing.decoding import decode_lent, received
from kras_plugins.processing.focus import out_of_focus
from kras_plugins.processing.handover import Handover
from kras_plugins.processing.placement import Placements
from kras_plugins.processing.seams import Seams
from kras_plugins.semantics.cells import CellWriter
from kras_plugins.semantics.map import CELLS, TissueCanvas, finish_map
from kras_plugins.semantics.raster import raster_over
from kras_plugins.slides.stream import OnTiles, TileBatch, ordered_map
from kras_plugins.slides.tiles import cover_grid

if TYPE_CHECKING:
    from kras_plugins.contracts.profiler import Outputs
    from kras_plugins.data import Bool, UInt8
    from kras_plugins.processing.reading import Tiles
    from kras_plugins.processing.seams import Rim
    from kras_plugins.processing.workers import Workers
    from kras_plugins.semantics.raster import Patch
    from kras_plugins.slides.slide import Slide
    from kras_plugins.slides.tissue import TissueMask

    Job = tuple[int, UInt8, Outputs]

TOGETHER = 4
"""Tiles of one batch that go to a worker process at once: handing them over and waking it costs as much as for one.
No more, so that all workers get some; memory contains two such parcels per worker."""


def profile_slide(
    slide: Slide,
    tissue: TissueMask,
    part: Part,
    folder: Path,
    tiles: Tiles,
    threads: int,
    decode_pool: Workers,
    on_tiles: OnTiles,
) -> Bool:
    """Write a semantic map into `folder`, cells as they come, and return the focus flag of every tile, bool[tile].

    `tiles`: see `reading.read_tiles`. `decode_pool`: worker processes; `threads` of them are called at once, and twice
    as many calls are prepared. Raises PluginError when the profiler fails or breaks its contract.
    """
    record = part.provided.record
    assert isinstance(record, ProfilerPlugin) and record.tile is not None
    who, spec = part.provided.id, part.tile
    provides = ask(who, lambda: frozenset(record.provides(part.options)))
    grid = cover_grid(slide, tissue, spec)
    size_um = (slide.size[0] * slide.mpp[0], slide.size[1] * slide.mpp[1])
    canvas = TissueCanvas(raster_over(*size_um))
    flags = np.zeros(len(grid), np.bool_)
    placements = Placements(grid, slide.mpp, frame=slide.size if slide.field else None)

    made = part.made

    def predict(batch: TileBatch) -> list[Job]:
        n = len(batch.pixels)
        with plugin_boundary(who):
            outputs = made.predict(batch.pixels)
            some = [slice(i, i + TOGETHER) for i in range(0, n, TOGETHER)]
            jobs: list[Job] = [
                (batch.first + s.start, batch.pixels[s], {k: v[s] for k, v in outputs.items()}) for s in some
            ]
        flags[batch.first : batch.first + n] = out_of_focus(batch, placements, spec.mpp)
        return jobs

    def decode(job: Job) -> list[tuple[bytes, Rim, Patch | None]]:
        first, pixels, outputs = job
        places = [placements[first + i] for i in range(len(pixels))]
        with plugin_boundary(who), handover.lend([pixels, *outputs.values()]) as lent:
            task = (made.decode, tuple(outputs), lent, spec.mpp, places, canvas.raster)
            return decode_pool.run(who, decode_lent, *task, items=len(places))

    # Threads only wait for worker processes, so there may be more of them than cores.
    ahead = 2 * threads
    seams = Seams()
    with (
        Handover() as handover,
        closing(tiles(grid, part.batch)) as batches,
        thread_pool(part.in_flight, "kras-predict") as models,
        thread_pool(ahead, "kras-decode") as waiting,
        CellWriter(folder / CELLS) as writer,
    ):
        predicted = ordered_map(models, predict, batches, ahead=part.in_flight + 1, plugin=who)
        jobs = (job for some in predicted for job in some)
        decoded = (one for some in ordered_map(waiting, decode, jobs, ahead=ahead) for one in some)
        for done, (cells, rim, patch) in enumerate(decoded, start=1):
            writer.write(received(cells), without=seams.again(rim))
            canvas.paste(patch)
            on_tiles("profile", done, len(grid))
    finish_map(
        folder,
        slide_id=slide.ref.slide_id,
        canvas=canvas,
        tissue_mask=tissue.mask,
        pen=tissue.pen,
        size_um=size_um,
        grid=grid,
        mpp=slide.mpp,
        provides=provides,
        source=part.identity,
        field=slide.field,
    )
    return flags
