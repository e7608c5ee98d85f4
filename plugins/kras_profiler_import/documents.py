"""Cells and annotations from JSON, streamed: QuPath's GeoJSON, CellViT's `cells`, HoVer-Net's `nuc`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from kras_plugins import CELL_CLASSES, TISSUE_CLASSES, SlideError
from kras_profiler_import.chunk import CELLS_AT_ONCE, Chunk, LeftOut, Region, Source
from kras_profiler_import.classes import UNCLASSIFIED
from kras_profiler_import.columns import our_column
from kras_profiler_import.jsonfile import each, head, member, stream
from kras_profiler_import.objects import kind_of
from kras_profiler_import.shapes import polygons

OWN = "kras"
"""The member of our own exports that states what GeoJSON cannot: mpp, size, and what the profiler provides."""
_STREAMED = ("features", "cells", "nuc")
_MALFORMED = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, shapely.errors.ShapelyError,
)  # fmt: skip
_CLASS_KEYS = ("classification", "class", "class_name", "cell_type", "type", "label")


def open_json(file: Path) -> Source:
    """Stream a JSON file of any of the known kinds; SlideError naming the file if it is of another kind or broken."""
    members, key = head(file, _STREAMED)
    try:
        if key in ("cells", "nuc"):
            return _nuclei(file, members, key)
        return _features(file, members, key)
    except (TypeError, ValueError, AttributeError) as e:
        raise SlideError(f"{file}: its metadata are malformed: {e}", "export it again") from e


def _features(file: Path, members: Mapping[str, Any], key: str | None) -> Source:
    prefix = "item" if key == "" else "features.item"
    items = stream(file, prefix) if key is not None else each(file)
    if key is None and members.get("type") != "Feature":
        raise SlideError(
            f"{file}: neither GeoJSON nor CellViT nor HoVer-Net JSON; it contains {', '.join(members) or 'nothing'}",
            "export GeoJSON from QuPath, or a JSON with `features`, `cells` or `nuc`",
        )
    facts = members.get(OWN) or {}
    provided, out = facts.get("provides"), LeftOut()
    return Source(
        items=_chunks(items, partial(_feature, {}, out), "feature", out),
        mpp=facts.get("mpp"),
        size=tuple(facts["size"]) if facts.get("size") else None,
        units="px" if facts else None,
        provides=None if provided is None else frozenset(provided) & {*CELL_CLASSES, *TISSUE_CLASSES},
        left_out=out,
    )


def _nuclei(file: Path, members: Mapping[str, Any], key: str) -> Source:
    """CellViT or HoVer-Net. Their metadata may come after the cells; HoVer-Net states `mag` before."""
    wanted = ("type_map", "wsi_metadata") if key == "cells" else () if "mag" in members else ("type_map", "mag")
    told = dict(members) | {name: member(file, name) for name in wanted if name not in members}
    names = _type_map(told.get("type_map"), file)
    facts = told.get("wsi_metadata") or {}
    mpp = facts.get("base_mpp", facts.get("slide_mpp"))
    mag, out = told.get("mag") if key == "nuc" else None, LeftOut()
    items = (item for _, item in stream(file, "nuc", pairs=True)) if key == "nuc" else stream(file, "cells.item")
    return Source(
        items=_chunks(items, partial(_nucleus, names), "nucleus", out),
        mpp=float(mpp) if mpp else None,
        magnification=None if mag is None else float(mag),
        names=tuple(names.values()),
        left_out=out,
    )


class _Rows:
    """Collects cells one by one into chunks."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.xy: list[tuple[float, float]] = []
        self.rings: list[Any] = []
        self.nuclear: list[bool] = []
        self.columns: dict[str, dict[int, float]] = {}
        self.items: list[str] = []

    def add(self, name: str, xy: Any, ring: Any, nuclear: bool, columns: Mapping[str, Any]) -> None:
        place = (math.nan, math.nan) if xy is None else (float(xy[0]), float(xy[1]))
        if xy is not None and not all(map(math.isfinite, place)):
            raise ValueError(f"a position of {place[0]:g}, {place[1]:g}")
        measured, row = {column: float(value) for column, value in columns.items()}, len(self.names)
        if not isinstance(ring, list | tuple):
            raise TypeError(f"an outline that is {type(ring).__name__}")
        self.names.append(name)
        self.xy.append(place)
        self.rings.append(ring)
        self.nuclear.append(nuclear)
        for column, value in measured.items():
            self.columns.setdefault(column, {})[row] = value

    def chunk(self, out: LeftOut) -> Chunk:
        """The cells except those with an invalid outline, which are left out."""
        n = len(self.names)
        outlines, bad = polygons(self.rings)
        for row in bad:
            out.damage(f"the outline of {self.items[row]} is not a list of x and y")
        columns = {}
        for name, found in self.columns.items():
            columns[name] = np.full(n, np.nan)
            columns[name][list(found)] = list(found.values())
        kept = np.setdiff1d(np.arange(n), bad)
        return Chunk(
            names=[self.names[row] for row in kept] if bad else self.names,
            xy=np.array(self.xy, np.float64).reshape(-1, 2)[kept],
            outlines=outlines[kept],
            nuclear=np.array(self.nuclear, np.bool_)[kept],
            columns={name: values[kept] for name, values in columns.items()},
        )


def _chunks(
    items: Iterable[Mapping[str, Any]],
    take: Callable[[Mapping[str, Any], _Rows], Region | None],
    what: str,
    out: LeftOut,
) -> Iterator[Chunk | Region]:
    """Cells in chunks and regions as they come: `take` adds an item's cells to the rows, or returns its region."""
    rows = _Rows()
    for number, item in enumerate(items, 1):
        try:
            region = take(item, rows)
        except _MALFORMED as e:
            out.damage(f"{what} {number} is malformed: {type(e).__name__}: {e!s:.200}")
            continue
        rows.items += [f"{what} {number}"] * (len(rows.names) - len(rows.items))
        if region is not None:
            yield region
        if len(rows.names) >= CELLS_AT_ONCE:
            yield rows.chunk(out)
            rows = _Rows()
    if rows.names:
        yield rows.chunk(out)


def _feature(aliases: dict[str, str | None], out: LeftOut, feature: Mapping[str, Any], rows: _Rows) -> Region | None:
    """One feature of GeoJSON; `aliases` remembers our columns by the file's names of measurements."""
    properties, geometry = feature.get("properties") or {}, feature["geometry"]
    text = str(properties.get("objectType", properties.get("object_type", feature.get("id", ""))))
    kind = kind_of(text)
    nucleus: Any = feature.get("nucleusGeometry")
    if _nowhere(geometry) and _nowhere(nucleus):
        out.nowhere += kind != "other"
        return None
    geometry = nucleus if _nowhere(geometry) else geometry
    name, points = _class(properties), geometry["type"] in ("Point", "MultiPoint")
    if kind == "annotation" and not points:
        if geometry["type"] in ("Polygon", "MultiPolygon"):
            return Region(name=name, geometry=shapely.force_2d(shapely.geometry.shape(geometry)))
    elif points:  # QuPath's points tool: one annotation, many cells
        one = geometry["type"] == "Point"
        for xy in [geometry["coordinates"]] if one else geometry["coordinates"]:
            rows.add(name, xy, (), False, _measured(properties, aliases) if one else {})
    elif kind != "other":
        ring = _ring(geometry if _nowhere(nucleus) else nucleus)
        rows.add(name, None, ring, not _nowhere(nucleus) or kind != "cell", _measured(properties, aliases))
    return None


def _nowhere(geometry: Any) -> bool:
    """Whether a geometry is null or empty, as GeoJSON allows for objects without a position."""
    return geometry is None or geometry == {} or geometry.get("coordinates", geometry) in ([], None)


def _class(properties: Mapping[str, Any]) -> str:
    value = next((properties[key] for key in _CLASS_KEYS if properties.get(key) is not None), None)
    if isinstance(value, Mapping):
        value = value.get("name") or ": ".join(value.get("names") or ())
    return str(value) if value else UNCLASSIFIED


def _measured(properties: Mapping[str, Any], aliases: dict[str, str | None]) -> dict[str, Any]:
    given = properties.get("measurements") or {}
    if isinstance(given, list):  # QuPath up to 0.3
        given = {entry["name"]: entry["value"] for entry in given}
    found = {}
    for key, value in given.items():
        if key not in aliases:
            aliases[key] = our_column(key)
        ours = aliases[key]
        if ours is not None and isinstance(value, int | float):
            found[ours] = value
    return found


def _ring(geometry: Mapping[str, Any]) -> Any:
    """The outer ring, of several parts the largest one's; nothing where the geometry has no area."""
    if geometry["type"] == "Polygon":
        return geometry["coordinates"][0]
    if geometry["type"] == "MultiPolygon":
        return max((part[0] for part in geometry["coordinates"]), key=lambda ring: shapely.Polygon(ring).area)
    raise ValueError(f"a cell of geometry {geometry['type']}")


def _type_map(value: Any, file: Path) -> dict[str, str]:
    """Names by number: `{"1": "Neoplastic"}`, `{"1": ["Neoplastic", …]}`, or CellViT's own `{"Neoplastic": 1}`."""
    if not isinstance(value, Mapping):
        return {}
    pairs = [(str(k), v[0] if isinstance(v, list) and v else v) for k, v in value.items()]
    turned = [(_number(v), k) if isinstance(v, int | float) and not k.isdecimal() else (k, str(v)) for k, v in pairs]
    names = dict(turned)
    if len(names) < len(turned):
        raise SlideError(f"{file}: type_map has two names for one number", "correct it, or export again")
    return names


def _number(value: Any) -> str:
    """A class number as text: 1, 1.0 and "1" are one class."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _nucleus(names: Mapping[str, str], cell: Mapping[str, Any], rows: _Rows) -> None:
    """One nucleus of CellViT or HoVer-Net; `names`: class names by number."""
    kind, prob = cell.get("type"), cell.get("type_prob")
    name = UNCLASSIFIED if kind is None else names.get(_number(kind), _number(kind))
    rows.add(name, cell.get("centroid"), cell.get("contour") or (), True, {} if prob is None else {"prob": prob})
