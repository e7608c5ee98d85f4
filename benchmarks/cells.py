"""How fast and in how much memory slides become cells: `make bench`, or `python benchmarks/cells.py --help`.

One run, with everything in turn and repeated, and medians: these machines are noisy, so only ratios within a run count.

    model        the network alone, on tiles already in memory
    data path    reading, JPEG decoding, resampling, focus check: what any network needs
    detection    from file to `cells.parquet`: the above, and nuclei segmented, measured, typed and written
    no network   the same with stored maps: what is left if a GPU or a server computes them

Post-processing is the CPU time of detection beyond that of model and data path: what worker processes do, and the
transfer to and from them (for which the network's maps are rounded to bytes). The floor is what the network's
operations take at the rate of a large matrix product; its layers are narrow (20 to 128 channels), so that no engine
comes near.

Two kinds of real tissue: the skin of CMU-1-Small-Region, and the crowded HGSC field. Each with the precision that
backend `local` chooses (bfloat16 where the processor has it) and with float32, which other processors use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from embed import SHARED, make_slide, matrix_rate

from kras_plugins.contracts.profiler import Profiler
from kras_plugins.data import SlideRef
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import Part, Parts, open_parts
from kras_plugins.processing.execution import workers
from kras_plugins.processing.pipeline import Work, tiles_of
from kras_plugins.processing.profiling import profile_slide
from kras_plugins.semantics.map import CELLS
from kras_plugins.slides.qc import blurred
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.slides.stream import ordered_map, stream_tiles
from kras_plugins.slides.tiles import cover_grid
from kras_plugins.slides.tissue import TissueMask, find_tissue
from kras_plugins.store import Store

HGSC = SHARED.parents[1] / "nuclei" / "hgsc" / "hgsc_nest.jpg"
GFLOP_PER_TILE = 9.9  # 576 x 576 px, as torch.utils.flop_counter counts
TILE_MM2 = (512 * 0.5e-3) ** 2
TILE_BYTES, MAP_BYTES = 3 * 576**2, 2 * 576**2 + 3 * 288**2
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Took:
    """What one job did: tiles, cells, wall-clock seconds, and CPU seconds of this process, main thread and workers."""

    tiles: int
    cells: int
    wall: float
    own_cpu: float
    main_cpu: float
    worker_cpu: float

    @property
    def cpu(self) -> float:
        return self.own_cpu + self.worker_cpu


def children() -> list[int]:
    """Process ids of this process' children."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def cpu_of(pids: list[int]) -> float:
    """Seconds of CPU that processes have taken so far."""
    return (
        sum(sum(int(t) for t in Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[11:13]) for p in pids)
        / TICK
    )


def took(job: Callable[[], tuple[int, int]]) -> Took:
    workers_before, own, main, wall = cpu_of(children()), time.process_time(), time.thread_time(), time.perf_counter()
    tiles, cells = job()
    wall, own, main = time.perf_counter() - wall, time.process_time() - own, time.thread_time() - main
    return Took(tiles, cells, wall, own, main, cpu_of(children()) - workers_before)


@dataclass(frozen=True)
class Bench:
    """One slide and what it is processed with. Jobs open the slide again, because decoded blocks stay in its cache."""

    ref: SlideRef
    parts: Parts
    part: Part
    tissue: TissueMask
    work: Work

    def slide(self) -> AbstractContextManager[Slide]:
        return open_slide(self.ref, self.parts.readers)

    def detect(self) -> tuple[int, int]:
        """(tiles, cells) of the slide, from file to file."""
        threads, pool = self.work.read_threads, self.work.decode_pool
        with self.slide() as slide, tempfile.TemporaryDirectory() as folder:
            tiles = tiles_of(slide, self.parts.readers, self.work)
            flags = profile_slide(slide, self.tissue, self.part, Path(folder), tiles, threads, pool, lambda *_: None)
            return len(flags), pq.read_metadata(Path(folder) / CELLS).num_rows


class Kept:
    """A profiler that gets the maps of a tile from another one once, and from then on from memory."""

    def __init__(self, made: Profiler) -> None:
        self.decode = made.decode
        self._made = made
        self._maps: dict[bytes, dict[str, np.ndarray]] = {}

    def predict(self, tiles: np.ndarray) -> dict[str, np.ndarray]:
        keys = [tile[::64, ::64].tobytes() for tile in tiles]
        if not self._maps.keys() >= {*keys}:
            found = self._made.predict(tiles)
            self._maps |= {key: {n: v[i] for n, v in found.items()} for i, key in enumerate(keys)}
        return {n: np.stack([self._maps[key][n] for key in keys]) for n in self._maps[keys[0]]}


@contextmanager
def bench(path: Path, precision: str = "auto") -> Iterator[Bench]:
    config = load_config(None, [f"backend.local.precision={precision}"])
    ref = SlideRef(patient_id="p", slide_id="bench", path=path)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_parts(discover(), config, extractors=[], profiler="cells", backend="local") as parts,
        workers(Store(Path(folder)), 0) as work,
    ):
        assert parts.profiler is not None
        with open_slide(ref, parts.readers) as slide:
            image, mpp = slide.thumbnail(8.0)
        yield Bench(ref, parts, parts.profiler, find_tissue(image, float(np.mean(mpp))), work)


def rounds_of(path: Path, precision: str, rounds: int) -> dict[str, list[Took]]:
    """Each job's times, one per round."""
    with bench(path, precision) as b:
        part, parts = b.part, b.parts
        print(f"engine {parts.engine}, precision {parts.precision}, batch {part.batch}, in flight {part.in_flight}")
        with b.slide() as slide:
            grid = cover_grid(slide, b.tissue, part.tile)
            print(f"slide {slide.size[0]} x {slide.size[1]} px, {len(grid)} tiles, reader {slide.reader}")
            stream = stream_tiles(slide, grid, batch=part.batch, threads=b.work.read_threads)
            batches = [tiles.pixels for tiles in islice(stream, 128 // part.batch)]

        (spec,) = part.specs

        def infer(pixels: np.ndarray) -> int:
            return len(part.infer[spec.name]({spec.inputs[0].name: pixels})["nucleus"])

        def model() -> tuple[int, int]:
            with ThreadPoolExecutor(part.in_flight) as pool:
                return sum(ordered_map(pool, infer, batches, part.in_flight + 1)), 0

        def data_path() -> tuple[int, int]:
            with b.slide() as slide, ThreadPoolExecutor(part.in_flight) as pool:
                stream = stream_tiles(slide, grid, batch=part.batch, threads=b.work.read_threads)
                looked = ordered_map(pool, lambda t: blurred(t.pixels, part.tile.mpp), stream, part.in_flight + 1)
                return sum(len(flags) for flags in looked), 0

        kept, other = Kept(part.made), copy(part)
        other.__dict__["_made"] = lambda: kept
        without = replace(b, part=other)
        model()
        without.detect()  # starts the workers
        jobs = {"model": model, "data path": data_path, "detection": b.detect, "no network": without.detect}
        found: dict[str, list[Took]] = {name: [] for name in jobs}
        for _ in range(rounds):
            for name, job in jobs.items():
                found[name].append(took(job))
    return found


def tell(found: dict[str, list[Took]]) -> None:
    """Print medians over rounds, of times and of each round's ratios."""
    for name, times in found.items():
        rate = statistics.median(t.tiles / t.wall for t in times)
        cells = statistics.median(t.cells / t.wall for t in times)
        cpu = 1e3 * statistics.median(t.cpu / t.tiles for t in times)
        workers_ = 1e3 * statistics.median(t.worker_cpu / t.tiles for t in times)
        more = f", {cells:6.0f} cells/s; {workers_:.1f} ms of it in workers" if cells else ""
        print(f"{name:10} {rate:7.2f} tiles/s, {rate * TILE_MM2:6.3f} mm²/s, {cpu:6.1f} ms of CPU a tile{more}")
    each = list(zip(found["model"], found["data path"], found["detection"], strict=True))
    by_clock = statistics.median((d.tiles / d.wall) / (m.tiles / m.wall) for m, _, d in each)
    by_cpu = statistics.median((m.cpu / m.tiles) / (d.cpu / d.tiles) for m, _, d in each)
    post = statistics.median(1 - (m.cpu / m.tiles + p.cpu / p.tiles) / (d.cpu / d.tiles) for m, p, d in each)
    print(f"detection / model alone: {by_clock:.2f} by the clock, {by_cpu:.2f} by CPU (aim 0.8)")
    print(f"post-processing: {post:.0%} of the CPU time of detection (aim below 25 %)")


def limits(found: dict[str, list[Took]], cores: int) -> dict[str, float]:
    """Tiles/s that each part allows on `cores` cores, from its CPU time here, and that the ways to a GPU allow.

    The hand-over is what the main process does without a network, besides reading; there is only one main thread, which
    writes the cells in order and thus bounds everything.
    """

    def ms(job: str, of: Callable[[Took], float] = lambda t: t.cpu) -> float:
        return 1e3 * statistics.median(of(t) / t.tiles for t in found[job])

    model, data, decoding = ms("model"), ms("data path"), ms("no network", lambda t: t.worker_cpu)
    handover = max(ms("no network", lambda t: t.own_cpu) - data, 0.01)
    return {
        "network on these cores": 1e3 * cores / model,
        "reading and focus check": 1e3 * cores / data,
        "decoding": 1e3 * cores / decoding,
        "hand-over": 1e3 * cores / handover,
        "the one thread that writes cells": 1e3 / ms("no network", lambda t: t.main_cpu),
        "all of it, network on these cores": 1e3 * cores / (model + data + decoding + handover),
        "all of it, network elsewhere": 1e3 * cores / (data + decoding + handover),
        "10 GbE to a server": 1.25e9 / (TILE_BYTES + MAP_BYTES),
        "the same with float32 maps": 1.25e9 / (TILE_BYTES + 4 * MAP_BYTES),
    }


def memory_of(path: Path) -> dict[str, float]:
    """Peak memory in MB for one slide, summed over this process and its workers (shared pages once)."""
    peak, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.25):
            pss = 0.0
            for pid in [os.getpid(), *children()]:
                rollup = Path(f"/proc/{pid}/smaps_rollup")
                pss += float(rollup.read_text().split("Pss:")[1].split()[0]) / 1024
            peak = max(peak, pss)

    with bench(path) as b:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        tiles, cells = b.detect()
        done.set()
        thread.join()
    return {"tiles": tiles, "cells": cells, "mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512 * 12, help="side of the slide in pixels")
    parser.add_argument("--cores", type=int, default=16, help="for the table of limits on this many")
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(memory_of(args.memory)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.svs"
        for name, pixels in tissues().items():
            make_slide(path, args.side, pixels)
            for precision in ("auto", "f32"):
                print(f"-- {name}, precision {precision}")
                found = rounds_of(path, precision, args.rounds)
                tell(found)
                print(f"what limits on {args.cores} cores, by these times:")
                for part, rate in limits(found, args.cores).items():
                    print(f"  {part:34} {rate:8.0f} tiles/s {rate * TILE_MM2:8.1f} mm²/s")
        for dtype in ("float32", "bfloat16"):
            rate = matrix_rate(dtype)
            print(f"floor {rate / GFLOP_PER_TILE:.1f} tiles/s in {dtype} ({rate:.0f} GFLOP/s)")
        for side in (args.side, args.side * 2):
            make_slide(path, side)
            words = [sys.executable, __file__, "--memory", str(path)]
            m = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            print(f"memory: {m['tiles']} tiles, {m['cells']} cells: {m['mb']:.0f} MB at most, all processes (aim 4096)")


def tissues() -> dict[str, np.ndarray | None]:
    """Pixels to make slides from, by name; None for the default of `make_slide`."""
    found: dict[str, np.ndarray | None] = {"skin" if SHARED.is_file() else "synthetic": None}
    if HGSC.is_file():
        from PIL import Image

        found["ovarian carcinoma"] = np.asarray(Image.open(HGSC).convert("RGB"))
    return found


if __name__ == "__main__":
    main()
