"""Labeled tiles: a folder with a subfolder per class, or a CSV that names file, label and group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kras_plugins.cohort.delimited import read_table
from kras_plugins.errors import ConfigError
from kras_plugins.files.regular import regular

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
LIST = "tiles.csv"


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Image files with the class of each and its group (slide, patient, block), which must not be split."""

    files: tuple[Path, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    grouped: bool

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.files)


def read_tiles(place: Path) -> Tiles:
    """Tiles of a CSV (columns `file`, relative to it, `label` and preferably `group`), of a folder with such a
    `tiles.csv`, or of a folder with a subfolder for each class.

    Without a group each tile is its own. Raises ConfigError if files or columns are missing or there is only one class.
    """
    listed = place / LIST if place.is_dir() else place
    tiles = _foldered(place) if listed.is_dir() or not listed.exists() else _listed(listed)
    if len(set(tiles.labels)) < 2:
        raise ConfigError(f"{place}: {len(tiles)} tiles of fewer than two classes", "a probe needs two classes or more")
    return tiles


def _listed(file: Path) -> Tiles:
    columns, rows = read_table(file, {name: (name,) for name in ("file", "label", "group")})
    missing = [name for name in ("file", "label") if name not in columns]
    if missing:
        raise ConfigError(f"{file}: no column {' and '.join(missing)}", "columns are file, label and group")
    found = [[columns.get(cells, name) for name in ("file", "label", "group")] for _, cells in rows]
    files = tuple(file.parent / name for name, *_ in found)
    absent = [f for f in files if not f.is_file()]
    if absent:
        raise ConfigError(f"{file}: {absent[0]} does not exist", "paths are relative to the CSV")
    grouped = "group" in columns
    return Tiles(
        files=files,
        labels=tuple(label for _, label, _ in found),
        groups=tuple(group if grouped else str(i) for i, (*_, group) in enumerate(found)),
        grouped=grouped,
    )


def _foldered(folder: Path) -> Tiles:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder or CSV", "correct the path")
    files = tuple(
        f for c in sorted(folder.iterdir()) if c.is_dir() for f in sorted(c.rglob("*")) if f.suffix.lower() in IMAGES
    )
    if not files:
        raise ConfigError(f"{folder}: neither {LIST} nor subfolders with images", "make a subfolder for each class")
    labels = tuple(f.relative_to(folder).parts[0] for f in files)
    return Tiles(files=files, labels=labels, groups=tuple(map(str, range(len(files)))), grouped=False)


def read_pixels(file: Path) -> UInt8:
    """uint8[h w 3]; raises ConfigError where the image is damaged."""
    try:
        with Image.open(regular(file)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as e:
        raise ConfigError(f"{file}: cannot be read: {e}", "replace or remove the tile") from e


def fit(pixels: UInt8, px: int, scale: float | None) -> UInt8:
    """uint8[px px 3] of uint8[h w 3].

    `scale`: output pixels per input pixel, where the resolution is known: then the middle is cut out, or what is
    missing is mirrored, and nuclei keep their size. None: the tile is stretched to fit, as in benchmarks.
    """
    image = Image.fromarray(pixels)
    if scale is None:
        return pixels if pixels.shape[:2] == (px, px) else np.asarray(image.resize((px, px), Image.Resampling.BICUBIC))
    if abs(scale - 1) > 0.02:
        size = tuple(max(1, round(n * scale)) for n in image.size)
        pixels = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))
    rows, columns = (_middle(n, px) for n in pixels.shape[:2])
    return np.ascontiguousarray(pixels[rows[:, None], columns])


def _middle(length: int, px: int) -> np.typing.NDArray[np.intp]:
    """Indices of `px` pixels around the middle of `length`, mirrored at the edges."""
    at = np.mod(np.arange(px) + (length - px) // 2, 2 * length)
    return np.where(at < length, at, 2 * length - 1 - at)
