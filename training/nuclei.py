"""Labelled H&E for the model `cells`: two public sets, their assumed resolution, and which part is held out."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from kras_profiler_cells import WORDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64, Int32, UInt8

CLASSES = WORDS
"""What the model tells apart; a cell it is unsure of becomes `other` when decoded."""
UNKNOWN = -1

_HGSC_CLASSES = {"neoplastic": "tumor", "inflammatory": "lymphocyte", "connective": "fibroblast"}
HGSC_MPP = 0.5
"""Assumed: its lymphocytes are 15.4 px wide (median); 0.5 makes that 7.7 µm, 0.25 an impossible 3.9 µm."""

DSB_MPP = {"violet-20x": 0.5, "violet-40x": 0.25, "marrow": 0.33, "pink": 0.25}
"""Assumed per kind of image: what makes its median nucleus 7 to 9 µm wide at a usual objective; see `dsb_kind`."""

GUARD = 144
"""Pixels at 0.5 µm/px left unused between training and held-out parts of a field: more than the network sees."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One labelled image.

    `pixels`: uint8[h w 3] of `mpp` µm; `labels`: int32[h w], 0 outside of nuclei; `classes`: int8[label + 1], an index
    into CLASSES or UNKNOWN, for each label. `kind` is what images are sampled by, `source` names the image it was cut
    from. `scored`: (left, top, right, bottom) in pixels: nuclei centered outside are context and are not scored.
    """

    name: str
    kind: str
    source: str
    pixels: UInt8
    labels: Int32
    classes: npt.NDArray[np.int8]
    mpp: float
    scored: tuple[int, int, int, int]

    @cached_property
    def centers(self) -> Float64:
        """(x, y) of each nucleus, float64[label + 1 2]; NaN where a label (or 0) has no pixel."""
        return centroids(self.labels)


def centroids(labels: Int32) -> Float64:
    """(x, y) of each label, float64[label + 1 2]; NaN where a label (or 0) has no pixel."""
    n = int(labels.max(initial=0)) + 1
    y, x = np.indices(labels.shape)
    size = np.bincount(labels.ravel(), minlength=n).astype(np.float64)
    size[0] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        at = [np.bincount(labels.ravel(), weights=v.ravel(), minlength=n) / size for v in (x, y)]
    out = np.stack(at, axis=1)
    out[~np.isfinite(out)] = np.nan
    return out


def load(folder: Path) -> tuple[list[Field], list[Field]]:
    """(training fields, held-out fields) of `folder`, which holds `dsb2018` and `hgsc`."""
    train, held_out = split_dsb(read_dsb(folder / "dsb2018"))
    for whole, axis in ((read_hgsc(folder / "hgsc", "nest"), 0), (read_hgsc(folder / "hgsc", "stromal"), 1)):
        part, rest = split_field(whole, axis=axis)
        train.append(part)
        held_out.append(rest)
    return train, held_out


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


def dsb_kind(pixels: UInt8, labels: Int32) -> str:
    """Which of the four visible kinds of BBBC038's color tiles one is, by its background and its nuclei.

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

    BBBC038 cut images into quarters without saying which belong together; tiles of one kind whose borders continue
    each other do.
    """
    group = list(range(len(images)))
    for i, j in neighbors(images, kinds):
        group = [group[i] if g == group[j] else g for g in group]
    numbers = {g: n for n, g in enumerate(dict.fromkeys(group))}
    return [numbers[g] for g in group]


def neighbors(images: Sequence[UInt8], kinds: Sequence[str], limit: float = 0.35) -> Iterator[tuple[int, int]]:
    """Pairs of tiles of one kind, of which the second continues the first to the right or downward.

    The step across the seam is compared with the steps beside it: about alike where the tiles were cut from one image,
    far larger elsewhere. A seam counts when its step is below `1 + limit` times the usual one (0.2 to 0.5 give the same
    pairs) and when there is something to see along it.
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

    Only sources found whole (four quarters or more) are held out: a tile whose siblings were not recognized stays in
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


def read_hgsc(folder: Path, which: str) -> Field:
    """The field `nest` or `stromal` of histolytics 0.3.0; labels and classes were made by a model, not by hand."""
    table, image = {
        "nest": ("hgsc_nest.parquet", "hgsc_nest.jpg"),
        "stromal": ("hgsc_stromal_cells.parquet", "hgsc_stromal_he.jpg"),
    }[which]
    pixels = np.asarray(Image.open(folder / image).convert("RGB"))
    rows = pq.read_table(folder / table)
    h, w = pixels.shape[:2]
    canvas = Image.new("I", (w, h))
    draw = ImageDraw.Draw(canvas)
    classes = [UNKNOWN]
    for geometry, name in zip(rows["geometry"].to_pylist(), rows["class_name"].to_pylist(), strict=True):
        # Pixel k covers [k, k + 1): half a pixel off the polygon's corner is the center that Pillow draws at.
        draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in ring(geometry)], fill=len(classes))
        classes.append(CLASSES.index(_HGSC_CLASSES[name]))
    return Field(
        name=which,
        kind=f"hgsc-{which}",
        source=which,
        pixels=pixels,
        labels=np.asarray(canvas).astype(np.int32),
        classes=np.array(classes, np.int8),
        mpp=HGSC_MPP,
        scored=(0, 0, w, h),
    )


def ring(wkb: bytes) -> Float64:
    """Outer ring float64[vertex 2] of a little-endian WKB polygon."""
    order, kind, _rings, n = struct.unpack_from("<BIII", wkb)
    if (order, kind) != (1, 3):
        raise ValueError(f"not a little-endian WKB polygon but byte order {order}, type {kind}")
    return np.frombuffer(wkb, "<f8", 2 * n, 13).reshape(-1, 2)


HELD_OUT_SHARE = 0.33


def split_field(field: Field, axis: int) -> tuple[Field, Field]:
    """Cut a field along `axis` (0: top and bottom, 1: left and right): (training part, held-out part).

    The last HELD_OUT_SHARE is held out. GUARD pixels before it belong to neither training nor score: the held-out part
    carries them as context.
    """
    length = field.labels.shape[axis]
    guard = round(GUARD * 0.5 / field.mpp)
    first = round(length * (1 - HELD_OUT_SHARE))
    h, w = field.labels.shape
    seen = (slice(0, first - guard), slice(None)) if axis == 0 else (slice(None), slice(0, first - guard))
    kept = (slice(first - guard, None), slice(None)) if axis == 0 else (slice(None), slice(first - guard, None))
    scored = (0, guard, w, h - first + guard) if axis == 0 else (guard, 0, w - first + guard, h)
    train = _part(field, seen, (0, 0, *field.labels[seen].shape[::-1]))
    return train, _part(field, kept, scored)


def _part(field: Field, where: tuple[slice, slice], scored: tuple[int, int, int, int]) -> Field:
    return replace(
        field,
        pixels=np.ascontiguousarray(field.pixels[where]),
        labels=np.ascontiguousarray(field.labels[where]),
        scored=scored,
    )


def at_mpp(field: Field, mpp: float) -> Field:
    """The field resampled to `mpp` as the host does it: pixels by area, labels by the nearest."""
    scale = field.mpp / mpp
    h, w = field.labels.shape
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    if size == (w, h):
        return field
    pixels = Image.fromarray(field.pixels).resize(size, Image.Resampling.BICUBIC)
    labels = Image.fromarray(field.labels).resize(size, Image.Resampling.NEAREST)
    left, top, right, bottom = (round(v * scale) for v in field.scored)
    return replace(
        field,
        pixels=np.asarray(pixels),
        labels=np.asarray(labels).astype(np.int32),
        mpp=mpp,
        scored=(left, top, right, bottom),
    )


def in_box(xy: Float64, box: tuple[int, int, int, int]) -> Bool:
    """Which points float64[point 2] lie in (left, top, right, bottom)."""
    inside: Bool = np.all((xy >= box[:2]) & (xy < box[2:]), axis=1)
    return inside


def describe(fields: Sequence[Field]) -> Mapping[str, str]:
    """Per kind: how many images, sources and scored nuclei with which classes."""
    lines = {}
    for kind in sorted({f.kind for f in fields}):
        of_kind = [f for f in fields if f.kind == kind]
        counts = dict.fromkeys((*CLASSES, "no class"), 0)
        for f in of_kind:
            inside = in_box(f.centers, f.scored)
            for c in f.classes[: len(inside)][inside]:
                counts[CLASSES[c] if c >= 0 else "no class"] += 1
        nuclei = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        lines[kind] = (
            f"{_count(len(of_kind), 'image')} of {_count(len({f.source for f in of_kind}), 'source')}: {nuclei}"
        )
    return lines


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("s" if n != 1 else "")
