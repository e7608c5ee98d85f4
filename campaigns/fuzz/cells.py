"""Cells made elsewhere in JSON: GeoJSON and CellViT's."""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaigns.fuzz.kind import Change, Kind, Must, cut, damage, pick

MPP, SIDE = 0.25, 12
WORDS = {"Tumor": "tumor", "Lymphocyte": "lymphocyte", "Fibroblast": "fibroblast"}
"""Class names of files, and ours."""
Cell = tuple[float, float, str]
CELLS: list[Cell] = [
    (200.0 + 50 * (i % SIDE), 200.0 + 50 * (i // SIDE), list(WORDS)[i % 3]) for i in range(SIDE * SIDE)
]
"""x, y in pixels and class: nuclei of 8 µm on a lattice."""


def _ring(x: float, y: float, r: float = 16.0, n: int = 24) -> list[list[float]]:
    return [
        [round(x + r * math.cos(2 * math.pi * i / n), 2), round(y + r * math.sin(2 * math.pi * i / n), 2)]
        for i in range(n)
    ]


def reads(name: str) -> Callable[[Path], Any]:
    """What reads the cells of a file as a study does."""

    def read(folder: Path) -> Any:
        from kras_plugins.data import SlideRef
        from kras_profiler_import import kras_profilers

        (plugin,) = kras_profilers()
        slide = SlideRef(patient_id="p", slide_id="s", mpp=MPP, extra={"width": "4000", "height": "4000"})
        assert plugin.load is not None
        found = plugin.load(slide, plugin.options.model_validate({"cells": str(folder / name)}))
        rows = found.cells.select(["x_px", "y_px", "class"]).to_pylist()  # type: ignore[union-attr]
        return told(
            [(r["x_px"], r["y_px"], r["class"]) for r in rows],
            None if name.endswith(".csv") else [v for v in found.cells["area_um2"].to_pylist() if v],  # type: ignore[union-attr]
        )

    return read


def told(cells: list[Cell], areas: list[float] | None = None) -> Any:
    """What is compared: cells in order of their places, to a tenth of a pixel as files round; areas to a µm²."""
    places = sorted([round(x, 1), round(y, 1), WORDS.get(word, word)] for x, y, word in cells)
    made: dict[str, Any] = {"cells": places, "n": len(cells)}
    return made if areas is None else {**made, "area": round(sum(areas) / max(1, len(areas)), 0)}


def _expected(cells: list[Cell], *, area: bool = True) -> Any:
    """The result for nuclei drawn as polygons of 24 corners."""
    one = 24 / 2 * math.sin(2 * math.pi / 24) * 16**2 * MPP**2
    return told(cells, [one] if area and cells else [] if area else None)


# --- JSON documents, of which each cell is an item of a list


def _edited(
    items: list[Any],
    rng: random.Random,
    place: Callable[[Any, float, float], None],
    name: Callable[[Any, str], None],
    numbered: bool,
) -> tuple[str, Any]:
    """Items as people and programs edit them, in place; what was done, and the cells that the file has then.

    `numbered`: classes are numbers, of which one that names none costs its cell alone, which is reported; a word
    without a meaning is refused.
    """
    cells = list(CELLS)
    i, j = rng.sample(range(len(items)), 2)
    match rng.randrange(8):
        case 0:
            rng.shuffle(items)
            what = "cells shuffled"
        case 1:
            items.append(copy.deepcopy(items[i]))
            cells.append(cells[i])
            what = f"cell {i} twice"
        case 2:
            del items[i]
            del cells[i]
            what = f"cell {i} left out"
        case 3:
            x, y = cells[i][0] + rng.choice([7.0, -6.0]), cells[i][1] + 5.0
            place(items[i], x, y)
            cells[i] = (x, y, cells[i][2])
            what = f"cell {i} moved"
        case 4:
            word = rng.choice(list(WORDS))
            name(items[i], word)
            cells[i] = (*cells[i][:2], word)
            what = f"cell {i} is a {word}"
        case 5:
            name(items[i], "Widget")
            del cells[i]
            return f"cell {i} is a Widget", cells if numbered else Must.REFUSED
        case 6:
            items[i] = rng.choice([None, 7, "cell", [], {}])
            del cells[i]  # one in 144 that cannot be read: left out and reported
            return f"cell {i} is {items[i]!r}", cells
        case _:
            place(items[i], *cells[j][:2])
            place(items[j], *cells[i][:2])
            name(items[i], cells[i][2])
            cells[i], cells[j] = (*cells[j][:2], cells[i][2]), (*cells[i][:2], cells[j][2])
            what = f"cells {i} and {j} exchanged"
    return what, cells


def _change_json(
    file: Path, rng: random.Random, key: str, place: Any, name: Any, more: list[Callable[[Any], tuple[str, Any]]]
) -> Change:
    """Change a document whose member `key` lists cells; those of CellViT, `cells`, have numbers for classes."""
    document = json.loads(file.read_text())

    def edited() -> Change:
        what, cells = _edited(document[key], rng, place, name, key == "cells")
        file.write_text(json.dumps(document))
        return Change(what, cells if isinstance(cells, Must) else _expected(cells))

    def special() -> Change:
        what, must = rng.choice(more)(document)
        file.write_text(json.dumps(document))
        return Change(what, must)

    def styled() -> Change:
        what, content = rng.choice([
            ("indented", json.dumps(document, indent=1).encode()),
            ("keys sorted", json.dumps(document, sort_keys=True).encode()),
            ("keys the other way round", json.dumps(dict(reversed(document.items()))).encode()),
            ("gzipped under its plain name", gzip.compress(json.dumps(document).encode(), mtime=0)),
            ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(document).encode()),
            ("a member more", json.dumps({"note": "mine", **document}).encode()),
        ])  # fmt: skip
        file.write_bytes(content)
        return Change(what, Must.SAME)

    return pick(
        rng,
        [
            (8, edited),
            (4, special),
            (2, styled),
            (2, lambda: cut(file, rng, Must.REFUSED)),
            (4, lambda: damage(file, rng)),
        ],
    )


# --- GeoJSON


def _feature(x: float, y: float, word: str) -> dict[str, Any]:
    ring = _ring(x, y)
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {"objectType": "detection", "classification": {"name": word}},
    }


def _make_geojson(folder: Path) -> None:
    features = [_feature(*cell) for cell in CELLS]
    (folder / "s.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _change_geojson(folder: Path, rng: random.Random, _sound: Any) -> Change:
    def place(feature: Any, x: float, y: float) -> None:
        ring = _ring(x, y)
        feature["geometry"]["coordinates"] = [[*ring, ring[0]]]

    def name(feature: Any, word: str) -> None:
        feature["properties"]["classification"] = {"name": word}

    def deep(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            for corner in feature["geometry"]["coordinates"][0]:
                corner.append(3.5)
        return "a third coordinate", Must.SAME

    def nowhere(document: Any) -> tuple[str, Any]:
        document["features"][5]["geometry"] = None
        return "one geometry is null", _expected([*CELLS[:5], *CELLS[6:]])

    def all_nowhere(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            del feature["geometry"]
        return "no geometries", Must.REFUSED

    def turned(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            feature["geometry"]["coordinates"][0].reverse()
        return "rings the other way round", Must.SAME

    def other_type(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            feature["geometry"]["type"] = rng.choice(["LineString", "polygon", "Circle"])
        return "geometries of another type", Must.REFUSED

    def text(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            feature["geometry"]["coordinates"][0][3] = rng.choice([["a", "b"], [1], None, [1e400, 2]])
        return "corners that are no places", Must.REFUSED

    def micrometers(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            feature["geometry"]["coordinates"] = [[[x / 4, y / 4] for x, y in feature["geometry"]["coordinates"][0]]]
        return "coordinates in micrometers", Must.REFUSED

    def no_class(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            del feature["properties"]["classification"]
        return "no classes", Must.REFUSED

    def points(document: Any) -> tuple[str, Any]:
        for feature, (x, y, _) in zip(document["features"], CELLS, strict=True):
            feature["geometry"] = {"type": "Point", "coordinates": [x, y]}
        return "points for polygons", told(CELLS, [])

    def measured(document: Any) -> tuple[str, Any]:
        for feature in document["features"]:
            feature["properties"]["measurements"] = {"Note": float("nan"), "Own": 1}
        return "measurements that are not ours", Must.SAME

    special = [deep, nowhere, all_nowhere, turned, other_type, text, micrometers, no_class, points, measured]
    return _change_json(folder / "s.geojson", rng, "features", place, name, special)


# --- CellViT


NUMBERS = {"Tumor": 1, "Lymphocyte": 2, "Fibroblast": 3}
NAMES = {"1": "Neoplastic", "2": "Inflammatory", "3": "Connective", "4": "Dead", "5": "Epithelial"}


def _make_cellvit(folder: Path) -> None:
    cells = [{"centroid": [x, y], "contour": _ring(x, y), "type": NUMBERS[w], "type_prob": 0.9} for x, y, w in CELLS]
    document = {"wsi_metadata": {"base_mpp": MPP}, "type_map": NAMES, "cells": cells}
    (folder / "s.json").write_text(json.dumps(document))


def _change_cellvit(folder: Path, rng: random.Random, _sound: Any) -> Change:
    def place(cell: Any, x: float, y: float) -> None:
        cell["centroid"], cell["contour"] = [x, y], _ring(x, y)

    def name(cell: Any, word: str) -> None:
        cell["type"] = NUMBERS.get(word, 77)

    def renamed(document: Any) -> tuple[str, Any]:
        document["type_map"] = {k: v for k, v in NAMES.items() if k != "2"} | {"2": "Epithelial"}
        del document["type_map"]["5"]
        cells = [(x, y, "epithelial" if w == "Lymphocyte" else w) for x, y, w in CELLS]
        return "number 2 is another class", _expected(cells)

    def no_map(document: Any) -> tuple[str, Any]:
        del document["type_map"]
        return "no type_map", Must.REFUSED

    def turned(document: Any) -> tuple[str, Any]:
        document["type_map"] = {v: int(k) for k, v in NAMES.items()}
        return "type_map the other way round", Must.SAME

    def other_mpp(document: Any) -> tuple[str, Any]:
        document["wsi_metadata"]["base_mpp"] = rng.choice([0.5, 1.0, 0.1])
        return "states another resolution", Must.REFUSED

    def no_mpp(document: Any) -> tuple[str, Any]:
        del document["wsi_metadata"]
        return "states no resolution", Must.SAME

    def odd_mpp(document: Any) -> tuple[str, Any]:
        document["wsi_metadata"]["base_mpp"] = rng.choice(["0.25 um", [0.25], {}, "nan", -1])
        # An empty value says nothing: the cohort's resolution counts then.
        return f"resolution {document['wsi_metadata']['base_mpp']!r}", Must.SAME

    def no_contour(document: Any) -> tuple[str, Any]:
        for cell in document["cells"]:
            del cell["contour"]
        return "no contours", told(CELLS, [])

    def no_centroid(document: Any) -> tuple[str, Any]:
        for cell in document["cells"]:
            del cell["centroid"]
        return "no centroids", Must.SAME

    def text(document: Any) -> tuple[str, Any]:
        for cell in document["cells"]:
            cell["centroid"] = rng.choice([["a", "b"], [1], [float("nan"), 1.0], 5])
        return "centroids that are no places", Must.REFUSED

    def tens(document: Any) -> tuple[str, Any]:
        for cell in document["cells"]:
            cell["type"] = str(cell["type"]) if rng.random() < 0.5 else float(cell["type"])
        return "types as texts and floats", Must.SAME

    special = [renamed, no_map, turned, other_mpp, no_mpp, odd_mpp, no_contour, no_centroid, text, tens]
    return _change_json(folder / "s.json", rng, "cells", place, name, special)


WARM = ("kras_profiler_import.cells", "kras_plugins.semantics.profile")
KINDS = [
    Kind(name=name, make=make, change=change, read=reads(file), named=(file, "profiler.import"), warm=WARM, few=2)
    for name, file, make, change in (
        ("geojson", "s.geojson", _make_geojson, _change_geojson),
        ("cellvit", "s.json", _make_cellvit, _change_cellvit),
    )
]
