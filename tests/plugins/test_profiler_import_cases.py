"""Cells in other people's files: unusual ones are read, odd objects are counted and reported, wrong scales refused."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from cell_files import MPP, NAMES, XY, R, area, box, features_of, load, ring, write_geojson

from kras_plugins.data import SemanticMap
from kras_plugins.errors import ConfigError, SlideError
from kras_plugins.host.notes import noted
from kras_profiler_import.jsonfile import Plain

SIZE = {"width": 15_000, "height": 15_000}
CASES = {
    "cv_orig.json": {},
    "hover40on20.json": {"mpp": 0.5, "vocabulary": "pannuke"},
    "z3d.geojson": {},
    "nan.geojson": {},
    "nullgeom.geojson": {},
    "qupath_annrows2.tsv": {},
}


def told(where: Path, **options: Any) -> tuple[SemanticMap, list[str]]:
    """A map with what was noted, but for where tissue comes from."""
    with noted(lambda _: None) as notes:
        semantic = load(where, slide_id=where.name.split(".")[0], **options)
    return semantic, [text for text in notes if "annotated tissue" not in text]


def write(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_its_400_cells_by_class(shared_cases: Path, name: str) -> None:
    semantic, notes = told(shared_cases / "cells" / name, **{**SIZE, **CASES[name]})
    assert Counter(semantic.cells["class"].to_pylist()) == {"lymphocyte": 200, "tumor": 200}
    x = semantic.cells["x_um"].to_numpy()
    sizes = semantic.cells["area_um2"].drop_null().to_numpy()
    assert x.max() == pytest.approx(4740 if "hover" in name else 2370, rel=0.002)
    assert not len(sizes) or np.median(sizes) == pytest.approx(38.0 if "nan" in name else 37.5, abs=0.1)
    assert notes == (
        ["slide nullgeom: 1 of 401 objects have neither a position nor an area; left out"] if "null" in name else []
    )


def test_a_ragged_case_is_named_as_damaged(shared_cases: Path) -> None:
    with pytest.raises(SlideError, match=r"ragged\.json: damaged: 1 of 40 .* outline of nucleus 26"):
        told(shared_cases / "cells" / "ragged.json", mpp=0.5)


# CellViT and HoVer-Net


def nuclei(scale: float = 1.0, kinds: tuple[object, object] = (1, 2)) -> list[dict[str, object]]:
    return [
        {"centroid": (xy * scale).tolist(), "contour": ring(*xy * scale, R * scale), "type": kinds[name != "Tumor"]}
        for xy, name in zip(XY, NAMES, strict=True)
    ]


@pytest.mark.parametrize(
    ("type_map", "kinds"),
    [
        ({"Background": 0, "Neoplastic": 1, "Inflammatory": 2}, (1, 2)),
        ({"Background": 0.0, "Neoplastic": 1.0, "Inflammatory": 2.0}, ("1", "2")),
        ({"1": "Neoplastic", "2": "Inflammatory"}, (1.0, 2.0)),
        ({"1": ["Neoplastic", [255, 0, 0]], "2": ["Inflammatory", [0, 255, 0]]}, (1, 2)),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_classes_are_named_in_any_layout_before_or_behind_the_cells(
    tmp_path: Path, type_map: dict[str, object], kinds: tuple[object, object], behind: bool
) -> None:
    facts = {"wsi_metadata": {"base_mpp": MPP}, "type_map": type_map}
    cells = {"cells": nuclei(kinds=kinds)}
    write(tmp_path / "s.json", {**cells, **facts} if behind else {**facts, **cells})
    semantic = load(tmp_path, mpp=None)
    assert semantic.cells["class"].to_pylist() == [name.lower() for name in NAMES]


def test_two_names_for_one_number_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "s.json", {"type_map": {"Neoplastic": 1, "Dead": 1}, "cells": nuclei()})
    with pytest.raises(SlideError, match=r"s\.json: type_map has two names"):
        load(tmp_path)


@pytest.mark.parametrize(("mag", "mpp", "scale"), [(40, 0.5, 0.5), (20, 0.2325, 2), (40, 0.2738, 1), (None, 0.25, 1)])
def test_coordinates_of_another_magnification_are_scaled(
    tmp_path: Path, mag: float | None, mpp: float, scale: float
) -> None:
    level0 = R * MPP / mpp  # nuclei of 8 µm
    cells = {
        str(i): {"centroid": (xy / scale).tolist(), "contour": ring(*xy / scale, level0 / scale), "type": 1}
        for i, xy in enumerate(XY * MPP / mpp)
    }
    for content in ({"mag": mag, "nuc": cells}, {"nuc": cells, "mag": mag}):
        semantic = load(write(tmp_path / "s.json", content), mpp=mpp, vocabulary="pannuke")
        np.testing.assert_allclose(semantic.cells["x_um"], XY[:, 0] * MPP, atol=0.1)
        assert np.median(semantic.cells["area_um2"]) == pytest.approx(np.pi * 16, rel=0.03)


@pytest.mark.parametrize(
    ("mag", "mpp", "message"), [(40, 0.35, "29x"), (0, 0.25, "not a magnification"), ("x", 0.25, "")]
)
def test_a_magnification_that_cannot_be_meant_is_refused(tmp_path: Path, mag: object, mpp: float, message: str) -> None:
    write(tmp_path / "s.json", {"mag": mag, "nuc": dict(enumerate(nuclei()))})
    with pytest.raises(SlideError, match=rf"s\.json.*{message}"):
        load(tmp_path, mpp=mpp, vocabulary="pannuke")
    if mag != "x":
        assert load(tmp_path, mpp=mpp, vocabulary="pannuke", units="px").cells.num_rows == len(XY)


# Plausible for the slide


def test_a_file_of_another_resolution_is_refused_unless_units_are_said(tmp_path: Path) -> None:
    write(tmp_path / "s.json", {"wsi_metadata": {"base_mpp": 0.25}, "cells": nuclei()})
    with pytest.raises(SlideError, match=r"states 0\.25 µm per level-0 pixel, but the slide has 0\.5"):
        load(tmp_path, mpp=0.5, vocabulary="pannuke")
    _, notes = told(tmp_path / "s.json", mpp=0.5, vocabulary="pannuke", units="px")
    assert "slide s: states 0.25 µm per level-0 pixel, but the slide has 0.5 by the cohort" in notes
    assert load(tmp_path, mpp=0.2325, vocabulary="pannuke").cells.num_rows == len(XY)


def test_areas_that_contradict_outlines_are_refused_with_what_pixels_seem_to_be(tmp_path: Path) -> None:
    exact = shapely.Polygon(ring(0, 0)).area * MPP**2
    write_geojson(tmp_path / "s.geojson", features_of(measurements={"Nucleus: Area µm^2": exact}))
    assert load(tmp_path).cells.num_rows == len(XY)
    with pytest.raises(SlideError, match=r"states nuclear areas 0\.25 times those of its outlines at 0\.5 µm") as e:
        load(tmp_path, mpp=0.5)
    assert "0.25 µm" in e.value.hint


@pytest.mark.parametrize(
    ("mpp", "message"), [(0.5, "15.9 µm across (199 µm², median"), (0.15, "4.8 µm across (18 µm²")]
)
def test_an_unusual_size_of_nuclei_is_told_with_the_numbers(tmp_path: Path, mpp: float, message: str) -> None:
    _, notes = told(write_geojson(tmp_path / "s.geojson", features_of()), mpp=mpp)
    assert len(notes) == 1 and "unusual" in notes[0] and message in notes[0]


def test_nuclei_of_more_than_400_square_micrometers_are_none(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    with pytest.raises(SlideError, match=r"wrongly scaled: nuclei would be 23\.9 µm across \(4\d\d µm²\)"):
        load(tmp_path, mpp=0.75)
    assert any("unusual" in text for text in told(tmp_path / "s.geojson", mpp=0.75, units="px")[1])


# JSON as tools write it


def plain(text: str, size: int) -> object:
    reader, data = Plain(io.BytesIO(text.encode()), Path("f")), b""
    while piece := reader.read(size):
        data += piece
    return json.loads(data)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 4096])
def test_nan_becomes_null_wherever_a_file_is_cut_and_texts_stay(size: int) -> None:
    value = {
        'a "NaN, b': ["NaN", ", NaN,", "\\", '\\"', "NaN\\", "Infinity"], "ß\u00b5": [1.5, None], "NaN": {"NaN": [None]}
    }  # fmt: skip
    text = json.dumps(value).replace("null", "NaN")
    assert plain(text, size) == value
    assert plain("\ufeff" + text.replace(": [NaN]", ": [-Infinity]"), size) == value


def test_a_mark_of_byte_order_is_passed_over_and_utf16_is_named(tmp_path: Path) -> None:
    text = json.dumps({"type": "FeatureCollection", "features": features_of()})
    (tmp_path / "s.geojson").write_text(text, encoding="utf-8-sig")
    assert load(tmp_path).cells.num_rows == len(XY)
    (tmp_path / "s.geojson").write_text(text, encoding="utf-16")
    with pytest.raises(SlideError, match=r"s\.geojson: is UTF-16"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["s.geojson.gz", "s.csv.gz"])
def test_damage_within_a_packed_file_is_named(tmp_path: Path, name: str) -> None:
    rows = "\n".join(f"{x},{y},Tumor" for x, y in np.random.default_rng(0).uniform(0, 9000, (4000, 2)))
    text = json.dumps({"features": features_of()}) if "json" in name else f"x,y,class\n{rows}\n"
    data = bytearray(gzip.compress(text.encode(), mtime=0))
    data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SlideError, match=rf"{name}.*damaged"):
        load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"wsi_metadata": [1], "cells": []},
        {"wsi_metadata": {"base_mpp": "fine"}, "cells": []},
        {"kras": [1], "features": []},
        {"kras": {"size": 3}, "features": []},
    ],
)
def test_facts_that_are_none_are_named(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises(SlideError, match=r"s\.json: its metadata are malformed"):
        load(write(tmp_path / "s.json", content))


# Odd objects

ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "a vertex of null": lambda f: f["geometry"]["coordinates"][0].__setitem__(3, [None, 5]),
    "a vertex of text": lambda f: f["geometry"]["coordinates"][0].__setitem__(3, ["x", 5]),
    "a vertex of one number": lambda f: f["geometry"]["coordinates"][0].__setitem__(3, [5]),
    "an infinite vertex": lambda f: f["geometry"]["coordinates"][0].__setitem__(3, [1e300, 5]),
    "a vertex of many brackets": lambda f: f["geometry"]["coordinates"][0].__setitem__(
        0, json.loads("[" * 900 + "]" * 900)
    ),
    "no coordinates": lambda f: f["geometry"].pop("coordinates"),
    "no geometry": lambda f: f.pop("geometry"),
    "a line": lambda f: f["geometry"].update(type="LineString", coordinates=[[0, 0], [1, 1]]),
    "an unknown geometry": lambda f: f["geometry"].update(type="Circle"),
    "properties that are none": lambda f: f.update(properties=[1]),
}


@pytest.mark.parametrize("what", ODD)
def test_one_odd_object_among_many_is_counted_and_told(tmp_path: Path, what: str) -> None:
    features = features_of()
    ODD[what](features[7])
    for _ in range(2):  # the second time it is in the store
        semantic, notes = told(write_geojson(tmp_path / "s.geojson", features))
        assert len(notes) == 1 and "slide s: 1 of 144 objects cannot be read; left out; the first: " in notes[0]
        assert "feature 8 " in notes[0] + " "
        np.testing.assert_allclose(semantic.cells["x_px"], np.delete(XY[:, 0], 7), atol=0.3)
    for one in features[20:30]:
        ODD[what](one)
    with pytest.raises(SlideError, match=r"damaged: 11 of 144 objects cannot be read; the first: .*feature 8"):
        load(write_geojson(tmp_path / "s.geojson", features))


@pytest.mark.parametrize("geometry", [None, {}, {"type": "Polygon", "coordinates": []}])
def test_objects_that_lie_nowhere_are_told_and_most_of_them_is_an_error(tmp_path: Path, geometry: object) -> None:
    features = features_of()
    for one in features[:70]:
        one["geometry"] = geometry
    semantic, notes = told(write_geojson(tmp_path / "s.geojson", features))
    assert notes == ["slide s: 70 of 144 objects have neither a position nor an area; left out"]
    assert semantic.cells.num_rows == 74
    for one in features[70:80]:
        one["geometry"] = geometry
    with pytest.raises(SlideError, match="80 of 144 objects have neither a position nor"):
        load(write_geojson(tmp_path / "s.geojson", features))


def test_odd_annotations_are_left_out_and_told(tmp_path: Path) -> None:
    tissue = [box("Tumor", 0, 0, 800, 1600), box("Stroma", 800, 0, 1600, 1600), box("Tumor", 0, 0, 9, 9)]
    tissue[2]["geometry"] = None
    semantic, notes = told(write_geojson(tmp_path / "s.geojson", [*features_of(), *tissue]))
    assert notes == ["slide s: 1 of 147 objects have neither a position nor an area; left out"]
    assert area(semantic, "cancer_epithelium") == pytest.approx(0.2 * 0.4)


def test_heights_are_passed_over_also_where_only_some_have_them(tmp_path: Path) -> None:
    features = features_of()
    for i, one in enumerate(features):
        (outline,) = one["geometry"]["coordinates"]  # type: ignore[index]
        one["geometry"]["coordinates"] = [[[*v, 7.0, 1.0][: 2 + i % 3] for v in outline]]  # type: ignore[index]
    high = box("Tumor", 0, 0, 800, 1600)
    high["geometry"]["coordinates"] = [[[*v, 3.0] for v in high["geometry"]["coordinates"][0]]]  # type: ignore[index]
    semantic = load(write_geojson(tmp_path / "s.geojson", [*features, high, box("Stroma", 800, 0, 1600, 1600)]))
    np.testing.assert_allclose(semantic.cells["x_px"], XY[:, 0], atol=0.3)
    assert area(semantic, "cancer_epithelium") == pytest.approx(0.2 * 0.4)


def test_a_broken_outline_of_a_parquet_table_is_left_out(tmp_path: Path) -> None:
    blobs = [shapely.to_wkb(shapely.Polygon(ring(x, y))) for x, y in XY]
    blobs[3], x = blobs[3][:20], np.float64(XY[4, 0] + R).tobytes()
    assert x in blobs[4]
    blobs[4] = blobs[4].replace(x, np.float64(np.nan).tobytes())
    blobs[5] = shapely.to_wkb(shapely.Point())
    table = pa.table({"geometry": pa.array(blobs, pa.binary()), "class": ["tumor"] * len(XY)})
    pq.write_table(table, tmp_path / "s.parquet")
    semantic, notes = told(tmp_path / "s.parquet")
    assert notes == ["slide s: 3 of 144 objects have neither a position nor an area; left out"]
    np.testing.assert_allclose(semantic.cells["x_px"], np.delete(XY[:, 0], [3, 4, 5]), atol=0.3)


# Tables of QuPath


@pytest.mark.parametrize("kind", ["Annotation", "PathAnnotationObject", "Tile", "TMA core", "Root"])
@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_rows_of_what_is_no_cell_are_passed_over(tmp_path: Path, kind: str, suffix: str) -> None:
    kinds = ["Detection" if i % 2 else "Cell" for i in range(len(XY))]
    rows = {
        "Object type": [kind, *kinds, kind],
        "Classification": ["Whatever", *NAMES, None],
        "Centroid X px": [0.0, *XY[:, 0], None],
        "Centroid Y px": [0.0, *XY[:, 1], None],
    }
    table = pa.table(rows)
    if suffix == ".parquet":
        pq.write_table(table, tmp_path / "s.parquet")
    else:
        lines = zip(*(["" if v is None else str(v) for v in column] for column in rows.values()), strict=True)
        (tmp_path / "s.tsv").write_text("\n".join("\t".join(line) for line in [tuple(rows), *lines]) + "\n")
    semantic, notes = told(tmp_path / f"s{suffix}")
    assert not notes
    np.testing.assert_allclose(semantic.cells["x_px"], XY[:, 0], atol=0.1)


def test_a_row_without_a_place_is_left_out_and_told(tmp_path: Path) -> None:
    rows = "\n".join(f"{x},{y},{n}" for (x, y), n in zip(XY, NAMES, strict=True))
    (tmp_path / "s.csv").write_text(f"x,y,class\n{rows}\n,,Tumor\n")
    semantic, notes = told(tmp_path / "s.csv")
    assert notes == ["slide s: 1 of 145 objects have neither a position nor an area; left out"]
    assert semantic.cells.num_rows == len(XY)


# Which file

BARCODE, UUID = "TCGA-05-4244-01Z-00-DX1", "d4ff32cd-38cf-40ea-8213-45c2b100ac01"


@pytest.mark.parametrize("where", ["", "{slide_id}.geojson"])
def test_cells_of_a_tcga_slide_are_found_with_and_without_the_uuid(tmp_path: Path, where: str) -> None:
    long, short = f"{BARCODE}.{UUID}", BARCODE
    for wanted, there in ((short, long), (long, short)):
        file = write_geojson(tmp_path / f"{there}.geojson", features_of())
        assert load(tmp_path / where, slide_id=wanted).slide_id == wanted
        file.unlink()
    for end in "12":
        write_geojson(tmp_path / f"{BARCODE}.{UUID[:-1]}{end}.geojson", features_of())
    with pytest.raises(SlideError, match=rf"{UUID[:-1]}1\.geojson and .*{UUID[:-1]}2\.geojson both belong to slide"):
        load(tmp_path / where, slide_id=short)


def test_a_name_that_differs_in_case_alone_is_no_match(tmp_path: Path) -> None:
    write_geojson(tmp_path / "Case1.geojson", features_of())
    with pytest.raises(SlideError, match=r"Case1\.geojson: differs from slide case1 only in upper and lower case"):
        load(tmp_path, slide_id="case1")


def test_a_pattern_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bad pattern"):
        load(f"{tmp_path}/{{slide}}.json")


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n", ""])
def test_a_feature_on_each_line_is_a_cell_each(shared_cases: Path, tmp_path: Path, between: str) -> None:
    features = json.loads((shared_cases / "cells" / "z3d.geojson").read_text())["features"]
    file = tmp_path / "s.geojson"
    file.write_text(between.join(json.dumps(feature) for feature in features))
    semantic, notes = told(file, **SIZE)
    assert (semantic.cells.num_rows, notes) == (400, [])


def test_lines_that_were_cut_off_are_damage(shared_cases: Path, tmp_path: Path) -> None:
    features = json.loads((shared_cases / "cells" / "z3d.geojson").read_text())["features"]
    file = tmp_path / "s.geojson"
    file.write_text("\n".join(json.dumps(feature) for feature in features)[:-9])
    with pytest.raises(SlideError, match="damaged or incomplete JSON"):
        load(file, **SIZE)


@pytest.mark.parametrize("odd", [None, {"name": "77"}, {}])
def test_a_cell_without_a_class_among_many_is_left_out_and_told(tmp_path: Path, odd: object) -> None:
    features: list[Any] = features_of()
    features[7]["properties"]["classification"] = odd
    write_geojson(tmp_path / "s.geojson", features)
    found, notes = told(tmp_path / "s.geojson")
    assert found.cells.num_rows == len(XY) - 1
    assert any("left out that have no class" in note and "(1)" in note for note in notes)
    for feature in features[: len(XY) // 10]:
        feature["properties"]["classification"] = odd
    write_geojson(tmp_path / "s.geojson", features)
    with pytest.raises(ConfigError, match="unknown cell classes"):
        load(tmp_path)


def test_a_cell_as_large_as_a_region_is_told(tmp_path: Path) -> None:
    features: list[Any] = features_of()
    features[7]["geometry"]["coordinates"] = [[[0, 0], [5000, 0], [5000, 5000], [0, 5000], [0, 0]]]
    write_geojson(tmp_path / "s.geojson", features)
    found, notes = told(tmp_path / "s.geojson")
    assert found.cells.num_rows == len(XY)
    assert any(f"1 of {len(XY)} cells are larger than 2,000 µm²" in note for note in notes)
