"""How fast the viewer draws a million cells: `python benchmarks/viewer_layers.py`, or from `benchmarks/viewer.py`.

A slide of 20 mm x 20 mm at 0.25 µm per pixel has 1,000,000 cells with outlines of 20 vertices, half of them crowded
into an eighth of its area (10,000 per mm², as in lymphoid tissue), written as `kras profile` writes them, tile after
tile. Tiles of 512 pixels of the crowded part at every level; times are medians and the worst, in CPU ms of one
processor, warm (the first tile of a level is given separately).
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from kras_plugins.data import CELL_CLASSES
from kras_plugins.semantics.cells import CellWriter, cell_batch
from kras_plugins.semantics.map import CELLS
from kras_plugins.semantics.wkb import encode_alike
from kras_plugins.viewer.geometry import Pyramid
from kras_plugins.viewer.layers.cells import CellsLayer

N, SIZE, MPP, TILE_UM = 1_000_000, (80_000, 80_000), 0.25, 256.0


def write_cells(folder: Path, n: int = N) -> None:
    """Write `cells.parquet` of `n` cells into a folder."""
    rng = np.random.default_rng(0)
    um = np.array(SIZE) * MPP
    xy = rng.uniform(0, um, (n, 2))
    xy[: n // 2] = um / 4 + xy[: n // 2] * (0.25, 0.5)
    tile = (xy // TILE_UM).astype(np.int64)
    xy = xy[np.lexsort((tile[:, 0], tile[:, 1]))]
    classes = np.array(CELL_CLASSES)[rng.choice(5, n, p=[0.5, 0.2, 0.1, 0.1, 0.1])]
    radius = rng.uniform(2.5, 6.0, n)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    with CellWriter(folder / CELLS) as writer:
        for start in range(0, n, 16_384):
            own = np.s_[start : start + 16_384]
            wave = 1 + 0.1 * rng.standard_normal((len(xy[own]), 20))
            ring = xy[own, None] + (radius[own, None] * wave)[..., None] * np.stack([np.cos(turn), np.sin(turn)], 1)
            columns = {
                "x_um": xy[own, 0], "y_um": xy[own, 1], "x_px": xy[own, 0] / MPP, "y_px": xy[own, 1] / MPP,
                "prob": np.full(len(ring), 0.9), "area_um2": np.pi * radius[own] ** 2, "major_um": 2 * radius[own],
            }  # fmt: skip
            writer.write(cell_batch(classes[own].tolist(), columns, encode_alike(ring / MPP)))


def million_cells() -> list[str]:
    """Lines of a table: how long it takes to load, and to draw a tile at each level."""
    with tempfile.TemporaryDirectory() as folder:
        write_cells(Path(folder))
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pyramid = Pyramid(SIZE, (MPP, MPP))
        layer = CellsLayer.read(Path(folder), pyramid)
        loaded = time.perf_counter() - began
        held = (
            sum(one.nbytes for one in vars(layer.cells).values() if isinstance(one, np.ndarray)),
            sum(level.nbytes for level in layer.density.levels),
        )
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        lines = [
            f"loaded in {loaded:.2f} s (peak {peak:.0f} MB more); kept: {held[0] / N:.1f} bytes a cell, "
            f"densities {held[1] / 1e6:.0f} MB",
            f"{'µm/px':>8} {'first':>7} {'median':>7} {'worst':>7}  ms a tile of 512 px",
        ]
        for level in range(pyramid.top, pyramid.top - 9, -1):
            across, down = pyramid.tiles(level)
            begin = across // 4, down // 4  # the crowded part
            places = [(begin[0] + i % 4, begin[1] + i // 4) for i in range(16)]
            places = [(c, r) for c, r in places if pyramid.has(level, c, r)]
            first, times = 0.0, []
            for turn in range(3):
                for column, row in places:
                    box, size = pyramid.box(level, column, row)
                    start = time.thread_time()
                    layer.draw(box, size, None)
                    took = 1000 * (time.thread_time() - start)
                    first = first or took
                    if turn:
                        times.append(took)
            um = MPP * 2 ** (pyramid.top - level)
            lines.append(f"{um:8.2f} {first:7.1f} {statistics.median(times):7.1f} {max(times):7.1f}")
        return lines


if __name__ == "__main__":
    print("\n".join(million_cells()))
