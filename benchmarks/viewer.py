"""What viewing a slide costs: `python benchmarks/viewer.py [SLIDE…]`.

Tiles of 512 px as `kras view` serves them, and the same tiles by OpenSlide's DeepZoomGenerator in JPEG of the same
quality, in turn, each tile once (no cache of finished tiles helps), the file in the system's cache. One row per slide:

    ours, OpenSlide    milliseconds per tile, median and 95th percentile, without HTTP
    ratio              of the 95th percentiles
    HTTP               ours as a browser gets them, from a running `kras view`
    start, first       seconds until the address is printed; from there until a whole slide is seen, 1,280 px wide
    memory             MB resident at the end, and how much of it came with the tiles

Without slides: the real one of the shared data and an Aperio-like pyramid of 40,000 px made of it.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import openslide
from embed import make_slide
from openslide.deepzoom import DeepZoomGenerator

from kras_plugins.data import SlideRef
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import usable_readers
from kras_plugins.slides.slide import open_slide
from kras_plugins.viewer.encoded import QUALITY, jpeg
from kras_plugins.viewer.geometry import TILE, Pyramid

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "slides" / "cmu_small_region.svs"
FIRST_PX = 1280
Tile = tuple[int, int, int]


def chosen(pyramid: Pyramid, count: int) -> list[Tile]:
    """Random tiles to look at, equally many of each of the finest six levels, as far as they have enough."""
    rng = np.random.default_rng(0)
    found: list[Tile] = []
    for level in range(max(0, pyramid.top - 5), pyramid.top + 1):
        across, down = pyramid.tiles(level)
        places = rng.permutation(across * down)[: -(-count // 6)]
        found += [(level, int(place % across), int(place // across)) for place in places]
    return [found[i] for i in rng.permutation(len(found))]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(path: Path, count: int) -> tuple[list[float], list[float], Pyramid, list[Tile]]:
    """Seconds per tile of ours and of OpenSlide's, in turn."""
    readers = usable_readers(discover(), load_config(None))
    with (
        open_slide(SlideRef(patient_id="", slide_id="bench", path=path), readers) as slide,
        openslide.OpenSlide(path) as other,
    ):
        pyramid = Pyramid(slide.size, slide.mpp)
        deep = DeepZoomGenerator(other, tile_size=TILE, overlap=0, limit_bounds=False)
        assert (deep.level_count, deep.level_dimensions[-1]) == (pyramid.top + 1, pyramid.display)

        def ours(tile: Tile) -> bytes:
            box, size = pyramid.box(*tile)
            return jpeg(slide.box((box.x, box.y), (box.width, box.height), size))

        def theirs(tile: Tile) -> bytes:
            buffer = io.BytesIO()
            deep.get_tile(tile[0], tile[1:]).save(buffer, "JPEG", quality=QUALITY)
            return buffer.getvalue()

        tiles = chosen(pyramid, count)
        for tile in tiles[:3]:
            ours(tile), theirs(tile)
        times: tuple[list[float], list[float]] = [], []
        for i, tile in enumerate(tiles):
            ways = [(times[0], ours), (times[1], theirs)]
            for kept, way in ways if i % 2 else reversed(ways):
                kept.append(seconds(lambda way=way, tile=tile: way(tile)))
        return *times, pyramid, tiles


class Browser:
    """One connection to a running viewer."""

    def __init__(self, address: str) -> None:
        url = urlsplit(address)
        self._connection = http.client.HTTPConnection(url.netloc)
        self._cookie = ""
        self._connection.request("GET", f"/?{url.query}")
        answer = self._connection.getresponse()
        answer.read()
        self._cookie = answer.headers["set-cookie"].partition(";")[0]

    def get(self, path: str) -> bytes:
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status in (200, 303), (path, answer.status, content)
        return content


@contextmanager
def viewing(path: Path) -> Iterator[tuple[subprocess.Popen[str], Browser, float]]:
    """A `kras view` of a slide, a browser at it, and the seconds until the address was printed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "kras_plugins.cli", "view", "--no-browser", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        yield process, Browser(address), time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def served(path: Path, pyramid: Pyramid, tiles: list[Tile]) -> tuple[list[float], float, float, float, float]:
    """Seconds per tile by HTTP; seconds to start and to the first image; MB at the end, and before the tiles."""
    name = path.stem
    with viewing(path) as (process, browser, start):

        def first() -> None:
            browser.get(f"/slides/{name}")
            json.loads(browser.get(f"/slides/{name}/facts"))
            level = next(n for n in range(pyramid.top + 1) if n == pyramid.top or pyramid.level_size(n)[0] >= FIRST_PX)
            across, down = pyramid.tiles(level)
            for row in range(down):
                for col in range(across):
                    browser.get(f"/slides/{name}/pixels/{level}/{col}_{row}.jpg")

        until_first, before = seconds(first), resident_mb(process.pid)
        times = [
            seconds(lambda t=tile: browser.get(f"/slides/{name}/pixels/{t[0]}/{t[1]}_{t[2]}.jpg")) for tile in tiles
        ]
        return times, start, until_first, resident_mb(process.pid), before


def row(path: Path, count: int) -> str:
    ours, theirs, pyramid, tiles = compare(path, count)
    over_http, start, first, memory, before = served(path, pyramid, tiles)

    def shown(times: list[float]) -> str:
        return f"{np.median(times) * 1000:5.1f} {np.percentile(times, 95) * 1000:6.1f}"

    ratio = np.percentile(ours, 95) / np.percentile(theirs, 95)
    return (
        f"{path.name:28} {pyramid.size[0]:6} {len(tiles):5}  {shown(ours)}  {shown(theirs)}  {ratio:5.2f}  "
        f"{shown(over_http)}  {start:5.1f} {first:5.2f}  {memory:5.0f} {memory - before:+5.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--tiles", type=int, default=300)
    parser.add_argument("--side", type=int, default=40_000)
    given = parser.parse_args()
    print(f"{'slide':28} {'px':>6} {'tiles':>5}  {'ours ms':>12}  {'OpenSlide ms':>12}  ratio  {'HTTP ms':>12}  "
          f"start first  memory MB")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        slides = given.slides
        if not slides:
            made = Path(folder) / "pyramid.svs"
            make_slide(made, given.side)
            slides = [path for path in (REAL, made) if path.is_file()]
        for path in slides:
            print(row(path, given.tiles), flush=True)


if __name__ == "__main__":
    main()
