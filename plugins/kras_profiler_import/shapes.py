"""Polygons in bulk: built from vertices, repaired, measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64
    from kras_profiler_import.chunk import Geometries

_FAR = 1e8  # pixels; no slide is this large, and what is finite in float64 may not be in float32
_NO_RING = (TypeError, ValueError, IndexError, KeyError, RecursionError, shapely.errors.ShapelyError)
QUARTER = 4  # outlines are kept to a quarter of a pixel, as the host keeps its own


def polygons(rings: Sequence[Sequence[Any]]) -> tuple[Geometries, list[int]]:
    """One polygon for each ring of (x, y) vertices, closed or not; None where there are fewer than three.

    Also returns which rings are damaged: a vertex is not a pair of finite numbers. These have no polygon.
    """
    result: Geometries = np.full(len(rings), None, dtype=object)
    try:
        _draw(result, rings, range(len(rings)))
    except _NO_RING:
        bad = []
        for i in range(len(rings)):
            try:
                _draw(result, rings, [i])
            except _NO_RING:
                bad.append(i)
        return result, bad
    return result, []


def _draw(result: Geometries, rings: Sequence[Sequence[Any]], rows: Sequence[int]) -> None:
    usable = [i for i in rows if len(rings[i]) > 2 and len(rings[i]) >= 3 + (rings[i][0] == rings[i][-1])]
    result[usable] = _polygons([rings[i] for i in usable])


def _polygons(rings: Sequence[Sequence[Any]]) -> Geometries:
    """One polygon for each ring of three or more vertices; an error of Python or shapely for an invalid vertex."""
    if not rings:
        return np.empty(0, dtype=object)
    closed = [ring if ring[0] == ring[-1] else [*ring, ring[0]] for ring in rings]
    flat = list(chain.from_iterable(closed))
    sizes = set(map(len, flat))
    if min(sizes) < 2:
        raise ValueError("a vertex has less than two numbers")
    pairs = flat if sizes == {2} else [vertex[:2] for vertex in flat]  # a third number is a height
    vertices = np.fromiter(chain.from_iterable(pairs), np.float64, 2 * len(flat)).reshape(-1, 2)
    if not (np.abs(vertices) < _FAR).all():
        raise ValueError("a vertex is not a place on a slide")
    ends = np.cumsum([0, *map(len, closed)])
    return np.asarray(
        shapely.from_ragged_array(shapely.GeometryType.POLYGON, vertices, (ends, np.arange(len(closed) + 1)))
    )


def from_wkb(blobs: npt.NDArray[np.object_]) -> Geometries:
    """Geometries of well-known binary; None where missing, damaged or not finite."""
    with np.errstate(invalid="ignore"):
        shapes: Geometries = np.array(shapely.from_wkb(blobs, on_invalid="ignore"), dtype=object)
    vertices, of = shapely.get_coordinates(shapes, return_index=True)
    shapes[of[~np.isfinite(vertices).all(1)]] = None
    return shapes


def outer(geometries: Geometries) -> tuple[Geometries, int]:
    """Each geometry as one simple polygon without holes, and how many crossed themselves.

    Those are repaired (`make_valid`), and of several parts the largest is kept; what has no area becomes None.
    """
    shapes = np.array(geometries, dtype=object)
    bad = ~shapely.is_missing(shapes) & ~shapely.is_valid(shapes)
    if bad.any():
        shapes[bad] = shapely.make_valid(shapes[bad])
    odd = ~shapely.is_missing(shapes) & (shapely.get_type_id(shapes) != shapely.GeometryType.POLYGON)
    shapes[odd] = [_largest(shape) for shape in shapes[odd]]
    there = ~shapely.is_missing(shapes)
    there &= shapely.area(shapes) > 0
    shapes[~there] = None
    shapes[there] = shapely.polygons(shapely.get_exterior_ring(shapes[there]))
    return shapes, int(bad.sum())


def _largest(shape: Any) -> Any:
    parts = [p for p in shapely.get_parts(shape, return_index=False) if p.geom_type in ("Polygon", "MultiPolygon")]
    flat = [q for p in parts for q in shapely.get_parts(p)]
    return max(flat, key=shapely.area, default=None)


def scaled(shapes: Geometries, factor: float) -> Geometries:
    """Shapes times `factor`, two-dimensional."""
    return np.asarray(shapely.transform(shapely.force_2d(shapes), lambda xy: xy * factor))


def rounded(shapes: Geometries) -> Geometries:
    """Shapes with vertices rounded to a quarter of a pixel, for storing outlines after they were measured."""
    return np.asarray(shapely.transform(shapes, lambda xy: np.round(xy * QUARTER) / QUARTER))


def measure(shapes: Geometries, mpp: float) -> tuple[Float64, dict[str, Float64]]:
    """Centroids float64[polygon 2] in pixels and shape columns in µm of simple polygons without holes.

    Moments by Green's theorem (Steger, On the calculation of arbitrary moments of polygons, 1996). Axes are those of
    the ellipse with the same second moments, 4 standard deviations long; `orientation` is the angle of the major axis
    from x toward y, in [-pi/2, pi/2]: all as the profiler `cells` measures them.
    """
    _, xy, (starts, _) = shapely.to_ragged_array(shapes)
    sides = np.diff(starts)
    first = np.repeat(xy[starts[:-1]], sides, axis=0)
    local = xy - first  # near zero, sums of products keep their precision
    inner = np.ones(len(xy), np.bool_)
    inner[starts[1:] - 1] = False
    x0, y0 = local[inner].T
    x1, y1 = local[np.flatnonzero(inner) + 1].T
    begins = starts[:-1] - np.arange(len(starts) - 1)

    def total(values: npt.NDArray[np.float64]) -> Float64:
        return np.asarray(np.add.reduceat(values, begins), np.float64)

    cross = x0 * y1 - x1 * y0
    area = total(cross) / 2
    cx, cy = total((x0 + x1) * cross) / (6 * area), total((y0 + y1) * cross) / (6 * area)
    xx = total((x0 * x0 + x0 * x1 + x1 * x1) * cross) / (12 * area) - cx * cx
    yy = total((y0 * y0 + y0 * y1 + y1 * y1) * cross) / (12 * area) - cy * cy
    both = total((x0 * y1 + 2 * x0 * y0 + 2 * x1 * y1 + x1 * y0) * cross) / (24 * area) - cx * cy
    root = np.sqrt((xx - yy) ** 2 / 4 + both * both)
    long, short = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 0)
    size = np.abs(area)
    columns = {
        "area_um2": size * mpp**2,
        "perimeter_um": shapely.length(shapes) * mpp,
        "major_um": 4 * np.sqrt(long) * mpp,
        "minor_um": 4 * np.sqrt(short) * mpp,
        "eccentricity": np.sqrt(1 - np.divide(short, long, out=np.ones(len(long)), where=long > 0)),
        "solidity": np.minimum(size / shapely.area(shapely.convex_hull(shapes)), 1.0),
        "orientation": 0.5 * np.arctan2(2 * both, xx - yy),
    }
    return np.stack([cx, cy], 1) + xy[starts[:-1]], columns
