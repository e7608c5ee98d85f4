"""What 1,000 to 1,000,000 slides take, calculated from the costs of one slide: the tables of docs/scale.md.

    python benchmarks/scale.py

Nothing is run: each cost below says where it was measured, or that it is assumed. A patient has one slide here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kras_plugins.remote.copying import PART
from kras_plugins.study.rates import RECORDED

SIZES = (1_000, 10_000, 100_000, 1_000_000)

TISSUE_MM2 = 102.0
"""Mean tumor area of 944 TCGA lung slides, LUAD and LUSC (PathAI's features); other tissue is additional."""
SLIDE_BYTES = 1e9
"""Assumed: a whole file at 0.25 µm/px, glass included."""
RANGE_BYTES_PER_MM2, RANGE_REQUESTS_PER_MM2, OPENING_BYTES, OPENING_REQUESTS = 6.2e6, 11.5, 2.2e6, 5
"""Read by ranges: 53 requests and 28.3 MB, opening included, for 324 tiles on 4.2 mm² of tissue alone at 0.25 µm/px,
a JPEG pyramid of quality 85 in tiles of 256 px (`embed.make_slide`); opening: docs/decisions/0021-object-storage.md."""

VIT_PX, CELLS_PX, MPP = 224, 512, 0.5
"""Sides of a tile of `vit` and of `cells`, and its µm per pixel."""
VIT_SECONDS = 1 / RECORDED["extractor:vit lunit-s16"].tiles_per_s
CELLS_SECONDS = 1 / RECORDED["profiler:cells"].tiles_per_s
"""Seconds of one core per tile, reading included (AMD EPYC, Zen 5, bf16)."""
GPU_VIT_PER_S, GPU_CELLS_PER_S = 753.0, 1_670.0
"""Tiles per second of a GPU, not measured by us: published for UNI (ViT-L) on an A100 (docs/gpu.md); calculated for
`cells` with 16 cores (docs/models/cells.md)."""

MAP_BYTES_PER_TILE = RECORDED["profiler:cells"].bytes_per_tile
STORED = {"tissue": 2, "bag": 3, "map": 5, "profile": 2}
"""Files of each artifact of a slide, with its `key.json` (tests/test_scale.py counts them); in a folder its place adds
two files."""
PIECE = 5 << 20
"""Bytes that obstore uploads in one request; a larger file takes one per piece, one to begin and one to end."""
SCHEDULER_SECONDS = 4.2e-3
"""Wall-clock seconds of a task that does nothing, on two quiet cores: docs/decisions/0020-dask.md."""
CORES_A_PLACE = 8
FOLDS, HE_FOLD_HOURS = 5, 4.4e-3
"""CPU hours of `he` per patient and outer fold: five networks, all epochs (docs/decisions/0022)."""
MANIFEST_BYTES = 600
"""Bytes of a slide in manifest.json with features and map; 450 were counted with features alone."""
BYTES = (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
TIMES = (("years", 365 * 86400.0), ("days", 86400.0), ("h", 3600.0), ("min", 60.0))


def tiles(side_px: int) -> float:
    """Tiles of a slide's tissue."""
    return TISSUE_MM2 / (side_px * MPP / 1000) ** 2


def bag_bytes(dim: int) -> float:
    """Bytes of tile features and positions as `kras_plugins.bags` writes them: float32[tile feature], int32[tile 2]."""
    return tiles(VIT_PX) * (dim * np.dtype("<f4").itemsize + 2 * np.dtype("<i4").itemsize)


def map_bytes() -> float:
    """Bytes of the cells and tissue of a slide."""
    return tiles(CELLS_PX) * MAP_BYTES_PER_TILE


def writes() -> float:
    """Requests to write the artifacts of a slide, with features of 384, into a bucket."""
    large = (bag_bytes(384), map_bytes())
    return sum(STORED.values()) + sum(math.ceil(one / PIECE) + 1 for one in large)


def reads() -> float:
    """Requests to fetch them on another machine, including unsuccessful ones before they were made."""
    large = (bag_bytes(384), map_bytes())
    return sum(STORED.values()) + sum(math.ceil(one / PART) - 1 for one in large) + len(STORED)


def core_seconds() -> float:
    """Seconds of one core for features and cells of a slide."""
    return tiles(VIT_PX) * VIT_SECONDS + tiles(CELLS_PX) * CELLS_SECONDS


@dataclass(frozen=True)
class Row:
    """A line of a table: its name, its value per slide, and how that is written."""

    name: str
    a_slide: float
    written: Callable[[float], str]


def quantity(value: float) -> str:
    """A number in two digits: 1.6, 720, 7,200, 8.1 million."""
    for word, scale in ((" billion", 1e9), (" million", 1e6)):
        if value >= 0.995 * scale:
            return f"{quantity(value / scale)}{word}"
    digits = 1 - math.floor(math.log10(value))
    rounded = round(value, digits)
    return f"{rounded:,.0f}" if digits <= 0 or rounded == int(rounded) else f"{rounded:.{digits}f}"


def size(value: float) -> str:
    """Bytes in their usual unit."""
    unit, scale = next((one for one in BYTES if value >= one[1]), BYTES[-1])
    return f"{quantity(value / scale)} {unit}"


def span(seconds: float) -> str:
    """Seconds in their usual unit."""
    unit, scale = next((one for one in TIMES if seconds >= 2 * one[1]), ("s", 1.0))
    return f"{quantity(seconds / scale)} {unit}"


def work(seconds: float) -> str:
    """Seconds of divisible work, in hours if they are many."""
    return f"{quantity(seconds / 3600)} h" if seconds >= 7200 else f"{quantity(seconds)} s"


SLIDES = (
    Row("files", SLIDE_BYTES, size),
    Row("read of them by ranges", RANGE_BYTES_PER_MM2 * TISSUE_MM2 + OPENING_BYTES, size),
    Row("tiles of `vit`", tiles(VIT_PX), quantity),
    Row("tiles of `cells`", tiles(CELLS_PX), quantity),
    Row("core time, `vit` with ViT-S", tiles(VIT_PX) * VIT_SECONDS, work),
    Row("core time, `cells`", tiles(CELLS_PX) * CELLS_SECONDS, work),
    Row("16 cores for both", core_seconds() / 16, span),
    Row("GPU time, `vit` with ViT-L (not measured)", tiles(VIT_PX) / GPU_VIT_PER_S, work),
    Row("GPU time, `cells` (not measured)", tiles(CELLS_PX) / GPU_CELLS_PER_S, work),
    Row("core time, `he` in 5 folds", FOLDS * HE_FOLD_HOURS * 3600, work),
    Row("one fold of it, on one core", HE_FOLD_HOURS * 3600, span),
)
STORE = (
    Row("tile features of 384", bag_bytes(384), size),
    Row("tile features of 1,536", bag_bytes(1536), size),
    Row("cells and tissue", map_bytes(), size),
    Row("files in a folder", sum(STORED.values()) + 2, quantity),
    Row("requests that write a store in a bucket, class A", writes(), quantity),
    Row("requests that read it on another machine, class B", reads(), quantity),
    Row(
        "requests that read slides by ranges, class B",
        RANGE_REQUESTS_PER_MM2 * TISSUE_MM2 + OPENING_REQUESTS,
        quantity,
    ),
    Row("`manifest.json`", MANIFEST_BYTES, size),
    Row("scheduling, in total", SCHEDULER_SECONDS, span),
)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """A table in Markdown with one column per size."""
    yield f"| | a slide | {' | '.join(f'{n:,}' for n in SIZES)} |"
    yield f"|---|{'---|' * (1 + len(SIZES))}"
    for row in rows:
        yield f"| {row.name} | {' | '.join(row.written(row.a_slide * n) for n in (1, *SIZES))} |"


def places(seconds: float) -> int:
    """How many places that take `seconds` per slide one command keeps busy, as it serves one after the other."""
    return int(seconds / SCHEDULER_SECONDS)


def gpu_seconds() -> float:
    """Seconds of one GPU for features and cells of a slide, not measured."""
    return tiles(VIT_PX) / GPU_VIT_PER_S + tiles(CELLS_PX) / GPU_CELLS_PER_S


def main() -> None:
    print("\n".join(table(SLIDES)), end="\n\n")
    print("\n".join(table(STORE)), end="\n\n")
    for name, seconds in (
        (f"places of {CORES_A_PLACE} cores", core_seconds() / CORES_A_PLACE),
        ("GPUs", gpu_seconds()),
    ):
        print(f"{name} that one command keeps busy, at {span(seconds)} a slide: {quantity(places(seconds))}")


if __name__ == "__main__":
    main()
