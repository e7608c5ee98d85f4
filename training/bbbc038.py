"""BBBC038 (Data Science Bowl 2018): its color tiles, their visible kinds, and the larger images they were cut from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.doubt import doubted
from training.fields import UNKNOWN, Field

if TYPE_CHECKING:
    from kras_plugins.data import Int32, UInt8

DSB_MPP = {"violet-20x": 0.5, "violet-40x": 0.25, "marrow": 0.33, "pink": 0.25}
"""Assumed per kind of image: what makes its median nucleus 7 to 9 µm wide at a usual objective; see `dsb_kind`."""

STAGE1_TEST_MPP = {"gland": 0.25, "blue-large": 0.25, "blue-spindle": 0.5}
"""Assumed by the rule of DSB_MPP: median nuclei are 8 to 9 µm wide then (as a disc of their area); see `test_kind`."""


def read_dsb(folder: Path) -> list[Field]:
    """The color tiles of BBBC038 (Caicedo et al., Nat Methods 2019;16:1247-1253) in `folder`; no classes."""
    files = sorted((folder / "images").glob("*.png"))
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    labels = [np.asarray(Image.open(folder / "labels" / file.name)).astype(np.int32) for file in files]
    kinds = [dsb_kind(image, label) for image, label in zip(images, labels, strict=True)]
    sources = group_tiles(images, kinds)
    return [
        Field(
            name=file.stem[:8],
            kind=kind,
            source=f"{kind} {source}",
            pixels=pixels,
            labels=label,
            classes=np.full(label.max() + 1, UNKNOWN, np.int8),
            mpp=DSB_MPP[kind],
            scored=(0, 0, label.shape[1], label.shape[0]),
        )
        for file, pixels, label, kind, source in zip(files, images, labels, kinds, sources, strict=True)
    ]


def read_stage1_test(folder: Path) -> list[Field]:
    """The twelve color tiles of BBBC038's first test round in `folder`; no classes, faint nuclei have no label."""
    fields = []
    for file in sorted((folder / "images").glob("*.png")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        labels = np.asarray(Image.open(folder / "labels" / file.name)).astype(np.int32)
        kind = test_kind(pixels)
        fields.append(
            Field(
                name=file.stem[5:13],
                kind=kind,
                source=f"{kind} {file.stem[5:13]}",
                pixels=pixels,
                labels=labels,
                classes=np.full(labels.max() + 1, UNKNOWN, np.int8),
                mpp=STAGE1_TEST_MPP[kind],
                scored=(0, 0, labels.shape[1], labels.shape[0]),
                weight=doubted(pixels, labels),
            )
        )
    return fields


def test_kind(pixels: UInt8) -> str:
    """Which of the three visible kinds a tile of the first test round is: by its size and by eosin.

    `gland`: H&E of mucous glands, much enlarged; `blue-large` and `blue-spindle`: blue nuclei on almost unstained
    tissue, large ones, and those of smooth muscle at half the size.
    """
    if pixels.shape[1] < 400:
        return "blue-spindle"
    pink = np.percentile(pixels[..., 0].astype(int) - pixels[..., 1], 90)
    return "gland" if pink > 40 else "blue-large"


def dsb_kind(pixels: UInt8, labels: Int32) -> str:
    """Which of the four visible kinds of BBBC038's color tiles a tile is, by its background and its nuclei.

    `pink`: red and pink of eosin; `marrow`: magenta nuclei on white; else violet, where the large nuclei of two
    magnifications differ threefold in area.
    """
    red, _green, blue = np.percentile(pixels.reshape(-1, 3), 50, axis=0)
    background = np.percentile(pixels[..., 1], 90)
    if red > blue + 4:
        return "pink"
    if background > 198:
        return "marrow"
    areas = np.bincount(labels.ravel())[1:]
    return "violet-40x" if np.percentile(areas[areas > 0], 90) > 800 else "violet-20x"


def group_tiles(images: Sequence[UInt8], kinds: Sequence[str]) -> list[int]:
    """Number of the source image each tile was cut from.

    BBBC038 cut images into quarters without saying which belong together; tiles of one kind belong together if their
    borders continue each other.
    """
    group = list(range(len(images)))
    for i, j in neighbors(images, kinds):
        group = [group[i] if g == group[j] else g for g in group]
    numbers = {g: n for n, g in enumerate(dict.fromkeys(group))}
    return [numbers[g] for g in group]


def neighbors(images: Sequence[UInt8], kinds: Sequence[str], limit: float = 0.35) -> Iterator[tuple[int, int]]:
    """Pairs of tiles of one kind in which the second continues the first to the right or downward.

    The step across the seam is compared with the steps beside it: about equal if the tiles were cut from one image,
    much larger otherwise. A seam counts when its step is below `1 + limit` times the usual one (0.2 to 0.5 give the
    same pairs) and when there is something to see along it.
    """
    grey = [image.astype(np.float64).mean(2) for image in images]
    for i, a in enumerate(grey):
        for j, b in enumerate(grey):
            if i == j or kinds[i] != kinds[j] or a.shape != b.shape:
                continue
            for first, second in ((a, b), (a.T, b.T)):
                seam = np.abs(first[:, -1] - second[:, 0]).mean()
                usual = (np.abs(first[:, -1] - first[:, -2]).mean() + np.abs(second[:, 0] - second[:, 1]).mean()) / 2
                if seam < (1 + limit) * usual and first[:, -1].std() > 8:
                    yield i, j


def split_dsb(fields: Sequence[Field], share: float = 0.25, seed: int = 0) -> tuple[list[Field], list[Field]]:
    """Whole sources to one side each: (training, held out), up to `share` of each kind held out.

    Only complete sources (four quarters or more) are held out: a tile whose siblings were not recognized stays in
    training, so that none of them can be on the other side.
    """
    rng = np.random.default_rng(seed)
    held_out: set[str] = set()
    for kind in sorted({f.kind for f in fields}):
        of_kind = [f.source for f in fields if f.kind == kind]
        wanted = round(share * len(of_kind))
        for source in rng.permutation(sorted(set(of_kind))).tolist():
            n = of_kind.count(source)
            if 4 <= n <= wanted:
                held_out.add(source)
                wanted -= n
    return [f for f in fields if f.source not in held_out], [f for f in fields if f.source in held_out]
