"""Two fields of ovarian carcinoma (HGSC) of histolytics 0.3.0, outlined and typed by a model, and how they are cut."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from training.doubt import doubted
from training.fields import CLASSES, UNKNOWN, Field, part

if TYPE_CHECKING:
    from kras_plugins.data import Float64

_HGSC_CLASSES = {"neoplastic": "tumor", "inflammatory": "lymphocyte", "connective": "fibroblast"}
HGSC_MPP = 0.4
"""Assumed: its lymphocytes are 15.4 px wide (median), which makes 6.2 µm; 0.25 would make an impossible 3.9 µm, and at
0.5 networks that never saw these fields find and type their cells worse (docs/models/cells.md)."""

GUARD = 144
"""Pixels at 0.5 µm/px left unused between training and held-out parts of a field: more than the receptive field."""


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
        # Pixel k covers [k, k + 1): Pillow draws at centers, half a pixel off the polygon's corner.
        draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in ring(geometry)], fill=len(classes))
        classes.append(CLASSES.index(_HGSC_CLASSES[name]))
    labels = np.asarray(canvas).astype(np.int32)
    return Field(
        name=which,
        kind=f"hgsc-{which}",
        source=which,
        pixels=pixels,
        labels=labels,
        classes=np.array(classes, np.int8),
        mpp=HGSC_MPP,
        scored=(0, 0, w, h),
        weight=doubted(pixels, labels),
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
    train = part(field, seen, (0, 0, *field.labels[seen].shape[::-1]))
    return train, part(field, kept, scored)
