"""Polygons as well-known binary (OGC 06-103r4): little-endian, two dimensions, one outer ring each."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

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


def encode_alike(polygons: Float64) -> pa.Array:
    """`encode` of float64[polygon vertex 2], as one Arrow array: many times faster than one by one."""
    n, vertices, _ = polygons.shape
    raw = np.empty((n, _HEAD.size + 16 * (vertices + 1)), np.uint8)
    raw[:, : _HEAD.size] = np.frombuffer(_HEAD.pack(1, _POLYGON, 1, vertices + 1), np.uint8)
    points = np.ascontiguousarray(polygons, "<f8").reshape(n, 2 * vertices).view(np.uint8)
    raw[:, _HEAD.size : -16], raw[:, -16:] = points, points[:, :16]
    ends = np.arange(n + 1, dtype=np.int32) * raw.shape[1]
    return pa.Array.from_buffers(pa.binary(), n, [None, pa.py_buffer(ends), pa.py_buffer(raw)])


def decode(polygon: bytes) -> Float64:
    """Outer ring float64[vertex 2] of one polygon, first vertex not repeated; raises StoreError on anything else."""
    if len(polygon) < _HEAD.size or polygon[0] != 1:
        raise StoreError("an outline is not little-endian well-known binary", "write outlines as WKB polygons")
    _, kind, rings, points = _HEAD.unpack_from(polygon)
    if kind != _POLYGON or rings < 1 or len(polygon) < _HEAD.size + 16 * points:
        raise StoreError("an outline is not a whole two-dimensional polygon", "write outlines as WKB polygons")
    ring = np.frombuffer(polygon, "<f8", count=2 * points, offset=_HEAD.size).reshape(-1, 2)
    return ring[:-1]
