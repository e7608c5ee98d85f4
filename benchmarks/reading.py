"""What reading costs, and its rate by threads and by processes: `python benchmarks/embed.py --model null`.

A model that takes no time asks for tiles of 224 px at 0.5 µm/px, from slides whose level 0 has that resolution, or
0.2525 or 0.2465 µm/px and is resampled, in JPEG and in JPEG 2000. One row per slide:

    CPU          milliseconds per tile of one thread: reading, decoding, resampling, focus check
    lock         microseconds of these in which the thread has the interpreter's lock, shared by all: how often
                 py-spy finds it with the lock, of how often it finds it working ("-" without py-spy)
    cores        that keep a GPU of 5,000 and of 15,000 tiles/s busy, by CPU alone
    threads, processes    tiles/s of that many, by the wall clock, so that it takes a quiet machine
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from embed import make_slide

from kras_plugins.data import SlideRef, TileGrid, TileSpec
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import UsableReader, usable_readers
from kras_plugins.processing.readers import Readers
from kras_plugins.processing.reading import read_tiles
from kras_plugins.slides.qc import blurred
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.stream import stream_tiles
from kras_plugins.slides.tiles import tile_grid
from kras_plugins.slides.tissue import find_tissue

SPEC = TileSpec(px=224, mpp=0.5)
BATCH = 64
TILES = 448
"""At most this many tiles per slide: JPEG 2000 takes 10 ms of CPU for each."""
SPY_HZ, SPY_SECONDS = 250, 8.0
SLIDES = [(codec, mpp) for codec in ("jpeg", "jpeg2000") for mpp in (0.5, 0.2525, 0.2465)]


@contextmanager
def opened(path: Path) -> Iterator[tuple[Slide, UsableReader, TileGrid]]:
    """A newly opened slide, its reader, and the first of its tiles."""
    readers = usable_readers(discover(), load_config(None))
    with open_slide(SlideRef(patient_id="p", slide_id="bench", path=path), readers) as slide:
        image, mpp = slide.thumbnail(8.0)
        grid = tile_grid(slide, find_tissue(image, mpp[0]), SPEC)
        few = replace(grid, xy=grid.xy[:TILES], tissue=grid.tissue[:TILES])
        yield slide, next(r for r in readers if r.plugin.name == slide.reader), few


def read_alone(path: Path, seconds: float = SPY_SECONDS) -> float:
    """Read a slide in one thread, reopened repeatedly for `seconds`; CPU seconds per tile, without opening."""
    began, cpu, done = time.monotonic(), 0.0, 0
    while not done or time.monotonic() - began < seconds:
        with opened(path) as (slide, _, grid):
            cpu -= time.process_time()
            for tiles in stream_tiles(slide, grid, batch=BATCH, threads=1):
                blurred(tiles.pixels, SPEC.mpp)
                done += len(tiles.pixels)
            cpu += time.process_time()
    return cpu / done


def lock_share(path: Path) -> float | None:
    """The share of its CPU time in which a reading thread has the interpreter's lock; None without py-spy."""
    spy = shutil.which("py-spy")
    if spy is None:
        return None

    def seen(*options: str) -> int:
        with tempfile.TemporaryDirectory() as folder:
            stacks = Path(folder) / "stacks"
            words = [spy, "record", *options, "--nonblocking", "-r", str(SPY_HZ), "-f", "raw", "-o", str(stacks), "--"]
            words += [sys.executable, str(Path(__file__).with_name("embed.py")), "--read", str(path)]
            subprocess.run(words, capture_output=True, check=True)
            counted = (line.rsplit(" ", 1) for line in stacks.read_text().splitlines())
            return sum(int(n) for stack, n in counted if "read_into" in stack or "blurred" in stack)

    return seen("--gil") / max(1, seen())


def timed(path: Path, tiles: Callable[[Slide, UsableReader, TileGrid], Iterator]) -> float:
    """Tiles per second of a slide that was just opened."""
    with opened(path) as (slide, reader, grid):
        began, done = time.perf_counter(), 0
        for batch in tiles(slide, reader, grid):
            blurred(batch.pixels, SPEC.mpp)
            done += len(batch.pixels)
        return done / (time.perf_counter() - began)


def by_threads(path: Path, count: int) -> float:
    return timed(path, lambda slide, _, grid: stream_tiles(slide, grid, batch=BATCH, threads=count))


def by_processes(path: Path, readers: Readers) -> float:
    return timed(
        path,
        lambda slide, reader, grid: read_tiles(
            slide, grid, BATCH, threads=readers.count, reader=reader, readers=readers
        ),
    )


def main(rounds: int) -> None:
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= (os.cpu_count() or 1)]
    with tempfile.TemporaryDirectory() as folder:
        slides = {}
        for codec, mpp in SLIDES:
            slides[codec, mpp] = Path(folder) / f"{codec}-{mpp}.svs"
            make_slide(slides[codec, mpp], 224 * (30 if mpp > 0.4 else 60), mpp=mpp, codec=codec)
        found: dict[tuple[str, float], dict[str, list[float]]] = {key: {} for key in slides}
        for key, path in slides.items():
            found[key]["cpu"] = [read_alone(path, 0.0) for _ in range(rounds)]
        for count in counts:
            with Readers(count, store=Path(folder)) as readers:
                readers.wanted = True
                for path in list(slides.values())[-2:]:  # starts them; those slides are closed again before their turn
                    by_processes(path, readers)
                for _ in range(rounds):
                    for key, path in slides.items():
                        found[key].setdefault(f"{count} threads", []).append(by_threads(path, count))
                        found[key].setdefault(f"{count} processes", []).append(by_processes(path, readers))
        print(
            f"tiles of {SPEC.px} px at {SPEC.mpp} µm/px, batches of {BATCH}; {os.cpu_count()} cores; median of {rounds}"
        )
        ways = [f"{n} {way}" for way in ("threads", "processes") for n in counts]
        print(f"{'codec':9} {'µm/px':>6} {'CPU ms':>7} {'lock µs':>8} {'cores':>9} ", *(f"{w:>12}" for w in ways))
        for (codec, mpp), values in found.items():
            cpu, share = statistics.median(values["cpu"]), lock_share(slides[codec, mpp])
            lock = "-" if share is None else f"{1e6 * share * cpu:.0f}"
            cores = f"{np.ceil(5e3 * cpu):.0f}, {np.ceil(15e3 * cpu):.0f}"
            rates = (f"{statistics.median(values[w]):12.0f}" for w in ways)
            print(f"{codec:9} {mpp:6} {1e3 * cpu:7.2f} {lock:>8} {cores:>9} ", *rates)
