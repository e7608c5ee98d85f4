"""Polygons as well-known binary (OGC 06-103r4): little-endian, two dimensions, one outer ring each."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.errors import StoreError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

_HEAD = struct.Struct("<BIII")  # byte order, geometry type, rings, points of the first ring
_POLYGON = 3


def encode(polygons: Iterable[npt.NDArray[Any]]) -> list[bytes]:
    """One polygon each from [vertex 2] (x, y) arrays that do not repeat their first vertex."""
    rings = [part for polygon in polygons for part in (polygon, polygon[:1])]
    if not rings:
        return []
    raw = np.concatenate(rings).astype("<f8").tobytes()  # all at once, as there are many
    sizes = [len(polygon) + 1 for polygon in rings[::2]]
    starts = accumulate(sizes, initial=0)
    return [
        _HEAD.pack(1, _POLYGON, 1, n) + raw[16 * start : 16 * (start + n)]
        for n, start in zip(sizes, starts, strict=False)
    ]


def decode(polygon: bytes) -> Float64:
    """Outer ring float64[vertex 2] of one polygon, first vertex not repeated; raises StoreError on anything else."""
    if len(polygon) < _HEAD.size or polygon[0] != 1:
        raise StoreError("an outline is not little-endian well-known binary", "write outlines as WKB polygons")
    _, kind, rings, points = _HEAD.unpack_from(polygon)
    if kind != _POLYGON or rings < 1 or len(polygon) < _HEAD.size + 16 * points:
        raise StoreError("an outline is not a whole two-dimensional polygon", "write outlines as WKB polygons")
    ring = np.frombuffer(polygon, "<f8", count=2 * points, offset=_HEAD.size).reshape(-1, 2)
    return ring[:-1]
