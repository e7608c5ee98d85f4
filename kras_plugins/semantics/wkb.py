"""Polygons as well-known binary (OGC 06-103r4): little-endian, two dimensions, one outer ring each."""

from __future__ import annotations

import struct
from collections.abc import Iterable
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
    result = []
    for polygon in polygons:
        ring = np.concatenate([polygon, polygon[:1]]).astype("<f8")
        result.append(_HEAD.pack(1, _POLYGON, 1, len(ring)) + ring.tobytes())
    return result


def decode(polygon: bytes) -> Float64:
    """Outer ring float64[vertex 2] of one polygon, first vertex not repeated; raises StoreError on anything else."""
    if len(polygon) < _HEAD.size or polygon[0] != 1:
        raise StoreError("an outline is not little-endian well-known binary", "write outlines as WKB polygons")
    _, kind, rings, points = _HEAD.unpack_from(polygon)
    if kind != _POLYGON or rings < 1 or len(polygon) < _HEAD.size + 16 * points:
        raise StoreError("an outline is not a whole two-dimensional polygon", "write outlines as WKB polygons")
    ring = np.frombuffer(polygon, "<f8", count=2 * points, offset=_HEAD.size).reshape(-1, 2)
    return ring[:-1]
