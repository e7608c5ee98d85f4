"""Cells and annotations from JSON, streamed: QuPath's GeoJSON, CellViT's `cells`, HoVer-Net's `nuc`."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import ijson
import numpy as np
import shapely
from ijson.common import ObjectBuilder

from kras_plugins import CELL_CLASSES, TISSUE_CLASSES, SlideError
from kras_profiler_import.chunk import CELLS_AT_ONCE, Chunk, Region, Source
from kras_profiler_import.classes import UNCLASSIFIED
from kras_profiler_import.columns import our_column
from kras_profiler_import.shapes import polygons
from kras_profiler_import.tables import opened

OWN = "kras"
"""The member of our own exports that says what GeoJSON cannot: mpp, size, and what the profiler provides."""
_STREAMED = ("features", "cells", "nuc")
_CLASS_KEYS = ("classification", "class", "class_name", "cell_type", "type", "label")


def open_json(file: Path) -> Source:
    """Stream a JSON file of any of the known kinds; SlideError naming the file where it is none or broken."""
    with opened(file) as f:
        members, key = _head(f, file)
    if key in (None, "features", ""):
        prefix = "item" if key == "" else "features.item"
        items = _stream(file, prefix) if key is not None else iter([members])
        if key is None and members.get("type") != "Feature":
            raise SlideError(
                f"{file}: neither GeoJSON nor CellViT nor HoVer-Net JSON; it holds {', '.join(members) or 'nothing'}",
                "export GeoJSON from QuPath, or a JSON with `features`, `cells` or `nuc`",
            )
        facts = members.get(OWN) or {}
        provided = facts.get("provides")
        return Source(
            items=_chunks(items, partial(_feature, {}), "feature", file),
            mpp=facts.get("mpp"),
            size=tuple(facts["size"]) if facts.get("size") else None,
            units="px" if facts else None,
            provides=None if provided is None else frozenset(provided) & {*CELL_CLASSES, *TISSUE_CLASSES},
        )
    names = _type_map(members.get("type_map"))
    pairs: Iterator[Any] = _stream(file, "nuc", pairs=True) if key == "nuc" else _stream(file, "cells.item")
    facts = members.get("wsi_metadata") or {}
    mpp = facts.get("base_mpp", facts.get("slide_mpp"))
    return Source(
        items=_chunks((item[1] if key == "nuc" else item for item in pairs), partial(_nucleus, names), "nucleus", file),
        mpp=float(mpp) if mpp else None,
        names=tuple(names.values()),
    )


def _broken(file: Path, error: Exception) -> SlideError:
    return SlideError(f"{file}: not whole JSON: {str(error).splitlines()[0]}", "copy or export it again")


def _head(f: IO[bytes], file: Path) -> tuple[dict[str, Any], str | None]:
    """The members before the one that holds the cells, and its key: empty for a bare list, None where there is none."""
    members: dict[str, Any] = {}
    try:
        events = ijson.basic_parse(f, use_float=True)
        event, _ = next(events)
        if event == "start_array":
            return members, ""
        for event, key in events:
            if event == "end_map" or key in _STREAMED:
                return members, None if event == "end_map" else str(key)
            builder, depth = ObjectBuilder(), 0
            for inner, value in events:
                builder.event(inner, value)
                depth += inner.startswith("start") - inner.startswith("end")
                if depth == 0:
                    break
            members[str(key)] = builder.value
    except (ijson.JSONError, StopIteration, EOFError, gzip.BadGzipFile) as e:
        raise _broken(file, e) from e
    return members, None


def _stream(file: Path, prefix: str, pairs: bool = False) -> Iterator[Any]:
    with opened(file) as f:
        try:
            yield from (ijson.kvitems if pairs else ijson.items)(f, prefix, use_float=True)
        except (ijson.JSONError, EOFError, gzip.BadGzipFile) as e:
            raise _broken(file, e) from e


class _Rows:
    """Collects cells one by one into chunks."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.xy: list[tuple[float, float]] = []
        self.rings: list[Any] = []
        self.nuclear: list[bool] = []
        self.columns: dict[str, dict[int, float]] = {}

    def add(self, name: str, xy: Any, ring: Any, nuclear: bool, columns: Mapping[str, Any]) -> None:
        row = len(self.names)
        self.names.append(name)
        self.xy.append((float("nan"), float("nan")) if xy is None else (xy[0], xy[1]))
        self.rings.append(ring)
        self.nuclear.append(nuclear)
        for column, value in columns.items():
            self.columns.setdefault(column, {})[row] = float(value)

    def chunk(self, file: Path) -> Chunk:
        n = len(self.names)
        try:
            outlines = polygons(self.rings)
        except (TypeError, ValueError) as e:
            raise SlideError(f"{file}: an outline is no list of x and y: {e}", "export it again") from e
        columns = {}
        for name, found in self.columns.items():
            columns[name] = np.full(n, np.nan)
            columns[name][list(found)] = list(found.values())
        return Chunk(
            names=self.names,
            xy=np.array(self.xy, np.float64).reshape(-1, 2),
            outlines=outlines,
            nuclear=np.array(self.nuclear, np.bool_),
            columns=columns,
        )


def _chunks(
    items: Iterable[Mapping[str, Any]], take: Callable[[Mapping[str, Any], _Rows], Region | None], what: str, file: Path
) -> Iterator[Chunk | Region]:
    """Cells in chunks and regions as they come: `take` adds an item's cells to the rows, or gives its region."""
    rows = _Rows()
    for number, item in enumerate(items):
        try:
            region = take(item, rows)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, shapely.errors.ShapelyError) as e:
            raise SlideError(
                f"{file}: {what} {number + 1} is malformed: {type(e).__name__}: {e}", "export it again"
            ) from e
        if region is not None:
            yield region
        if len(rows.names) >= CELLS_AT_ONCE:
            yield rows.chunk(file)
            rows = _Rows()
    if rows.names:
        yield rows.chunk(file)


def _feature(aliases: dict[str, str | None], feature: Mapping[str, Any], rows: _Rows) -> Region | None:
    """One feature of GeoJSON; `aliases` remembers our columns by the file's names of measurements."""
    properties, geometry = feature.get("properties") or {}, feature["geometry"]
    kind = _kind(feature, properties)
    name, points = _class(properties), geometry["type"] in ("Point", "MultiPoint")
    if kind == "annotation" and not points:
        if geometry["type"] in ("Polygon", "MultiPolygon"):
            return Region(name=name, geometry=shapely.geometry.shape(geometry))
    elif points:  # QuPath's points tool: one annotation, many cells
        one = geometry["type"] == "Point"
        for xy in [geometry["coordinates"]] if one else geometry["coordinates"]:
            rows.add(name, xy, (), False, _measured(properties, aliases) if one else {})
    elif kind != "other":
        nucleus = feature.get("nucleusGeometry")
        ring = _ring(nucleus or geometry)
        rows.add(name, None, ring, nucleus is not None or kind != "cell", _measured(properties, aliases))
    return None


def _kind(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """annotation, cell, detection or other; files that are not QuPath's say nothing: detections."""
    text = str(properties.get("objectType", properties.get("object_type", feature.get("id", "")))).lower()
    if "annotation" in text:
        return "annotation"
    if "cell" in text:
        return "cell"
    return "other" if text in ("tile", "root", "tmacore", "tma_core") else "detection"


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


def _type_map(value: Any) -> dict[str, str]:
    """Names by number from CellViT's `type_map`, `{"1": "Neoplastic"}` or `{"1": ["Neoplastic", …]}`."""
    if not isinstance(value, Mapping):
        return {}
    return {str(k): str(v[0] if isinstance(v, list) else v) for k, v in value.items()}


def _nucleus(names: Mapping[str, str], cell: Mapping[str, Any], rows: _Rows) -> None:
    """One nucleus of CellViT or HoVer-Net; `names`: class names by number."""
    kind, prob = cell.get("type"), cell.get("type_prob")
    name = UNCLASSIFIED if kind is None else names.get(str(kind), str(kind))
    rows.add(name, cell.get("centroid"), cell.get("contour") or (), True, {} if prob is None else {"prob": prob})
