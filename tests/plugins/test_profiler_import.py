"""Cells made elsewhere: every format gives the same cells, their classes and tissue."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from cell_files import IMPORT, MPP, NAMES, XY, R, area, box, feature, features_of, load, ring, write_geojson

from kras_plugins.data import SemanticMap, SlideRef
from kras_plugins.errors import ConfigError, SlideError
from kras_plugins.semantics import wkb
from kras_plugins.semantics.profile import profile
from kras_profiler_import import ImportOptions


def assert_the_cells(semantic: SemanticMap, atol: float = 0.3) -> None:
    cells = semantic.cells
    np.testing.assert_allclose(np.stack([cells["x_px"], cells["y_px"]], 1), XY, atol=atol)
    np.testing.assert_allclose(np.stack([cells["x_um"], cells["y_um"]], 1), XY * MPP, atol=atol)
    assert cells["class"].to_pylist() == [name.lower() for name in NAMES]


@pytest.mark.parametrize("name", ["s.geojson", "s.geojson.gz", "s.json"])
def test_qupath_detections_are_read_with_their_shapes(tmp_path: Path, name: str) -> None:
    write_geojson(tmp_path / name, features_of())
    semantic = load(tmp_path)
    assert_the_cells(semantic)
    area = np.asarray(semantic.cells["area_um2"])
    exact = shapely.Polygon(ring(0, 0)).area * MPP**2
    np.testing.assert_allclose(area, exact, rtol=0.02)
    np.testing.assert_allclose(semantic.cells["solidity"], 1, atol=0.01)
    np.testing.assert_allclose(semantic.cells["eccentricity"], 0, atol=0.2)
    assert semantic.provides >= {"tumor", "lymphocyte", "area_um2", "cancer_epithelium"}
    assert not semantic.provides & {"plasma", "h_od_mean", "prob"}
    assert semantic.outlines is not None and semantic.ce_source == "density"


def test_shape_is_that_of_an_ellipse(tmp_path: Path) -> None:
    """Axes 4, 2 by the formulas of the ellipse, turned by 30 degrees."""
    turn = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
    rings = [(np.array(ring(0, 0, 20, 200, 0.5)) @ turn.T + xy).tolist() for xy in XY]
    write_geojson(tmp_path / "s.geojson", [feature(r, "tumor") for r in rings])
    cells = load(tmp_path).cells
    for name, value in (
        ("major_um", 40 * MPP), ("minor_um", 20 * MPP), ("eccentricity", np.sqrt(0.75)), ("orientation", np.pi / 6),
        ("area_um2", np.pi * 200 * MPP**2), ("perimeter_um", 96.88 * MPP),
    ):  # fmt: skip
        np.testing.assert_allclose(cells[name], value, rtol=0.01, err_msg=name)


def test_a_cell_gives_its_nucleus_and_a_cells_border_no_nuclear_shape(tmp_path: Path) -> None:
    whole = features_of(objectType="cell")
    for f, (x, y) in zip(whole[:50], XY, strict=False):
        f["nucleusGeometry"] = {"type": "Polygon", "coordinates": [[*ring(x, y, 14), ring(x, y, 14)[0]]]}
    write_geojson(tmp_path / "s.geojson", whole)
    area = load(tmp_path).cells["area_um2"]
    np.testing.assert_allclose(area[:50], shapely.Polygon(ring(0, 0, 14)).area * MPP**2, rtol=0.02)
    assert area[50:].null_count == len(XY) - 50


def test_names_of_derived_classes_and_old_exports_are_understood(tmp_path: Path) -> None:
    one, two, three, four = features_of()[:4]
    one["properties"] = {"object_type": "detection", "classification": {"names": ["Tumor", "Positive"]}}
    two["properties"] = {"classification": "Immune cells", "measurements": [{"name": "prob", "value": 0.5}]}
    three["properties"] = {"class_name": "tumour cells"}
    four["properties"] = {"objectType": "tile"}
    write_geojson(tmp_path / "s.geojson", [one, two, three, four])
    cells = load(tmp_path).cells
    assert cells["class"].to_pylist() == ["tumor", "lymphocyte", "tumor"]
    assert cells["prob"].to_pylist() == [None, 0.5, None]


def cellvit(named: bool = True) -> dict[str, object]:
    kinds = {"Tumor": 1, "Lymphocyte": 2}
    cells = [
        {"centroid": [x, y], "contour": ring(x, y), "type": kinds[name], "type_prob": 0.9}
        for (x, y), name in zip(XY, NAMES, strict=True)
    ]
    names = {
        "0": "Background",
        "1": "Neoplastic",
        "2": "Inflammatory",
        "3": "Connective",
        "4": "Dead",
        "5": "Epithelial",
    }
    return {"wsi_metadata": {"base_mpp": MPP}, **({"type_map": names} if named else {}), "cells": cells}


def test_cellvit_states_its_classes_and_resolution(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(cellvit()))
    semantic = load(tmp_path, mpp=None)
    assert_the_cells(semantic)
    assert semantic.cells["prob"][0].as_py() == pytest.approx(0.9)
    assert semantic.provides >= {"tumor", "lymphocyte", "fibroblast", "epithelial", "other"}


def test_hovernet_numbers_need_to_be_told_whose_they_are(tmp_path: Path) -> None:
    nuclei = {str(i): cell for i, cell in enumerate(cellvit()["cells"])}  # type: ignore[arg-type]
    (tmp_path / "s.json").write_text(json.dumps({"mag": None, "nuc": nuclei}))
    with pytest.raises(ConfigError, match=r"'1' \(96\), '2' \(48\)") as e:
        load(tmp_path)
    assert "tumor" in e.value.hint
    assert_the_cells(load(tmp_path, vocabulary="pannuke"))
    assert load(tmp_path, vocabulary="monusac").provides >= {"macrophage", "neutrophil"}


HALO = "Image Location,Object Id,XMin,XMax,YMin,YMax,Phenotype,Nucleus Area (µm²)\n"


def halo_rows(sep: str = ",", decimal: str = ".") -> str:
    rows = (
        sep.join(["C:\\a.svs", str(i), *(f"{v:.1f}".replace(".", decimal) for v in (x - R, x + R, y - R, y + R))])
        + f"{sep}{name}{sep}50{decimal}5"
        for i, ((x, y), name) in enumerate(zip(XY, NAMES, strict=True))
    )
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("suffix", "encoding"), [(".csv", "utf-8"), (".csv.gz", "utf-8"), (".csv", "utf-8-sig")])
def test_halo_boxes_become_cells(tmp_path: Path, suffix: str, encoding: str) -> None:
    data = (HALO + halo_rows()).encode(encoding)
    (tmp_path / f"s{suffix}").write_bytes(gzip.compress(data, mtime=0) if suffix.endswith("gz") else data)
    semantic = load(tmp_path)
    assert_the_cells(semantic)
    np.testing.assert_allclose(semantic.cells["area_um2"], 50.5)
    assert semantic.outlines is None


def test_semicolons_decimal_commas_and_latin_letters_are_found(tmp_path: Path) -> None:
    text = HALO.replace(",", ";") + halo_rows(";", ",")
    (tmp_path / "s.csv").write_bytes(text.encode("latin1"))
    assert_the_cells(load(tmp_path))


def test_a_header_in_micrometers_is_believed(tmp_path: Path) -> None:
    rows = "\n".join(f"{x * MPP}\t{y * MPP}\t{name}" for (x, y), name in zip(XY, NAMES, strict=True))
    (tmp_path / "s.tsv").write_text(f"Centroid X µm\tCentroid Y µm\tClass\n{rows}\n", encoding="utf-8")
    assert_the_cells(load(tmp_path))


def test_columns_can_be_mapped_and_classes_can_be_flags(tmp_path: Path) -> None:
    rows = "\n".join(f"{x},{y},{int(n == 'Tumor')},{int(n != 'Tumor')}" for (x, y), n in zip(XY, NAMES, strict=True))
    (tmp_path / "s.csv").write_text(f"a,b,Tumor,Lymphocyte\n{rows}\n")
    with pytest.raises(ConfigError, match="positions of cells"):
        load(tmp_path)
    columns = {"x": "a", "y": "b", "class": ["Tumor", "Lymphocyte"]}
    assert_the_cells(load(tmp_path, columns=columns))
    with pytest.raises(ConfigError, match="no column c"):
        load(tmp_path, columns={**columns, "prob": "c"})


def test_cells_of_two_images_in_one_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(HALO + halo_rows() + halo_rows().replace("a.svs", "b.svs"), encoding="utf-8")
    with pytest.raises(SlideError, match="several images"):
        load(tmp_path)


def test_geoparquet_of_polygons_is_read(tmp_path: Path) -> None:
    blobs = wkb.encode(np.array(ring(x, y)) for x, y in XY)
    table = pa.table({"geometry": pa.array(blobs, pa.binary()), "class_name": NAMES, "uid": range(len(XY))})
    pq.write_table(table, tmp_path / "s.parquet")
    assert_the_cells(load(tmp_path))


def test_geoparquet_of_points_and_of_several_parts_is_read(tmp_path: Path) -> None:
    two = shapely.MultiPolygon([shapely.Polygon(ring(300, 300)), shapely.Polygon(ring(360, 300, 4))])
    shapes = [shapely.Point(100, 120), two, shapely.Polygon(ring(500, 500), [ring(500, 500, 4)])]
    table = pa.table({"geometry": pa.array(shapely.to_wkb(shapes), pa.binary()), "class": ["tumor"] * 3})
    pq.write_table(table, tmp_path / "s.parquet")
    cells = load(tmp_path).cells
    np.testing.assert_allclose(
        np.stack([cells["x_px"], cells["y_px"]], 1), [[100, 120], [300, 300], [500, 500]], atol=0.1
    )
    exact = shapely.Polygon(ring(0, 0)).area * MPP**2
    assert cells["area_um2"].to_pylist() == [None, pytest.approx(exact, rel=0.02), pytest.approx(exact, rel=0.02)]


def test_the_order_of_cells_and_the_chunks_of_a_file_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    whole = load(tmp_path)
    monkeypatch.setattr("kras_profiler_import.documents.CELLS_AT_ONCE", 7)
    monkeypatch.setattr("kras_profiler_import.cells.RESULT", -1)
    assert load(tmp_path).cells.equals(whole.cells)


# Classes


def test_unknown_classes_are_listed_with_counts_and_the_line_to_write(tmp_path: Path) -> None:
    features = features_of()
    for f in features[:5]:
        f["properties"]["classification"] = {"name": "Blob"}  # type: ignore[index]
    features[5]["properties"].pop("classification")  # type: ignore[attr-defined]
    write_geojson(tmp_path / "s.geojson", features)
    with pytest.raises(ConfigError, match=r"unknown cell classes: 'Blob' \(5\) ") as e:
        load(tmp_path)
    assert 'classes = { "Blob" = ' in e.value.hint
    semantic = load(tmp_path, classes={"blob": "ignore", "unclassified": "other"})
    assert semantic.cells.num_rows == len(XY) - 5
    with pytest.raises(ValueError, match="nonsense"):
        ImportOptions(classes={"Blob": "nonsense"})


def test_a_name_that_means_two_things_is_asked_about(tmp_path: Path) -> None:
    """Epithelial cells are tumor cells to MoNuSAC and are not to PanNuke."""
    features = [feature(ring(x, y), "Epithelial" if n == "Tumor" else n) for (x, y), n in zip(XY, NAMES, strict=True)]
    write_geojson(tmp_path / "s.geojson", features)
    with pytest.raises(ConfigError, match=r"different things.*'Epithelial' \(96\)"):
        load(tmp_path)
    assert_the_cells(load(tmp_path, vocabulary="monusac"))
    assert_the_cells(load(tmp_path, classes={"Epithelial": "tumor"}))


def test_a_class_that_the_source_can_give_but_did_not_meet_is_zero_not_unknown(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    assert "plasma" not in load(tmp_path).provides
    assert "plasma" in load(tmp_path, provides=["tumor", "lymphocyte", "plasma"]).provides


# Tissue


def test_annotations_become_tissue_with_the_smaller_on_top(tmp_path: Path) -> None:
    tissue = [box("Tumor", 400, 400, 1200, 1200), box("Stroma", 0, 0, 1600, 1600), box("Necrosis", 480, 480, 640, 640)]
    write_geojson(tmp_path / "s.geojson", features_of() + tissue)
    semantic = load(tmp_path, width=2400, height=2000)
    assert semantic.ce_source == "import"
    assert semantic.tissue.shape == (125, 150)
    assert area(semantic, "cancer_epithelium") == pytest.approx((200**2 - 40**2) / 1e6)
    assert area(semantic, "cancer_stroma") == pytest.approx((400**2 - 200**2) / 1e6)
    assert semantic.provides >= {"cancer_epithelium", "cancer_stroma", "necrosis"}
    assert semantic.analysed.all()


def test_tissue_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    (tmp_path / "t").mkdir()
    write_geojson(tmp_path / "t" / "s.geojson", [box("Tumor", 0, 0, 800, 1600), box("Stroma", 800, 0, 1600, 1600)])
    semantic = load(tmp_path, tissue=str(tmp_path / "t"))
    assert area(semantic, "cancer_epithelium") == area(semantic, "cancer_stroma") == pytest.approx(0.2 * 0.4)


def test_cells_in_micrometers_and_tissue_in_pixels_go_together(tmp_path: Path) -> None:
    rows = "\n".join(f"{x * MPP}\t{y * MPP}\t{name}" for (x, y), name in zip(XY, NAMES, strict=True))
    (tmp_path / "s.tsv").write_text(f"Centroid X µm\tCentroid Y µm\tClass\n{rows}\n", encoding="utf-8")
    (tmp_path / "t").mkdir()
    write_geojson(tmp_path / "t" / "s.geojson", [box("Tumor", 0, 0, 800, 1600), box("Stroma", 800, 0, 1600, 1600)])
    semantic = load(tmp_path, tissue=str(tmp_path / "t"))
    assert_the_cells(semantic)
    assert area(semantic, "cancer_epithelium") == area(semantic, "cancer_stroma") == pytest.approx(0.2 * 0.4)


def test_a_region_without_class_says_where_tissue_is_and_epithelium_comes_from_density(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", [*features_of(), box(None, 0, 0, 480, 1600)])
    semantic = load(tmp_path, width=2400, height=2000)
    assert semantic.ce_source == "density"
    assert not semantic.tissue[:, 30:].any() and semantic.tissue[:100, :30].all()
    assert area(semantic, "cancer_epithelium") > 0


def test_epithelium_without_stroma_is_asked_about(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", [*features_of(), box("Tumor", 0, 0, 800, 800)])
    with pytest.raises(SlideError, match="no cancer_stroma") as e:
        load(tmp_path)
    assert '"Tumor" = "other"' in e.value.hint
    assert load(tmp_path, tissue_classes={"Tumor": "other"}).ce_source == "density"


def test_unknown_annotations_are_listed(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", [*features_of(), box("Zone 9", 0, 0, 800, 800)])
    with pytest.raises(ConfigError, match=r"'Zone 9' \(1\)"):
        load(tmp_path)


def test_without_annotations_tissue_is_where_cells_are(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    semantic = load(tmp_path, width=4000, height=4000)
    side = (11 * 50 + 2 * 40) * MPP / 1000  # the lattice and its margin of 10 µm
    tissue = np.count_nonzero(semantic.tissue) * (semantic.tissue_mpp / 1000) ** 2
    assert tissue == pytest.approx(side**2, rel=0.1)


def test_annotated_growth_patterns_become_features_and_no_tissue(tmp_path: Path) -> None:
    tissue = [box("Tumor", 0, 0, 1600, 2400), box("Stroma", 1600, 0, 2400, 2400)]
    grown = [box("Solid pattern", 0, 0, 1200, 2400), box("lepidic", 1200, 0, 2400, 2400), box("IMA", 0, 0, 400, 2400)]
    write_geojson(tmp_path / "s.geojson", features_of() + tissue + grown)
    semantic = load(tmp_path, pattern_classes={"IMA": "mucinous"})
    assert area(semantic, "cancer_epithelium") == pytest.approx(0.4 * 0.6)
    assert semantic.pattern is not None and semantic.pattern.shape == semantic.tissue.shape
    found = profile(semantic)
    values = dict(zip(found.names, found.values.tolist(), strict=True))
    expected = {"solid_share": 1 / 3, "mucinous_share": 1 / 6, "lepidic_papillary_share": 1 / 2}  # smaller ones on top
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    assert values["pattern_entropy"] == pytest.approx(-sum(p * np.log2(p) for p in expected.values()))
    assert np.isnan(values["p_luad"])


def test_patterns_may_lie_beside_cells_without_tissue_and_beyond_them(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", [*features_of(), box("Acinar", -500, -500, 9000, 9000)])
    semantic = load(tmp_path)
    assert semantic.ce_source == "density" and semantic.pattern is not None and (semantic.pattern == 2).all()
    plain = load(write_geojson(tmp_path / "t.geojson", features_of()), slide_id="t")
    np.testing.assert_array_equal(semantic.tissue, plain.tissue)
    assert plain.pattern is None


def test_a_patterns_name_may_mean_tissue_and_a_pattern_must_be_known(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", [*features_of(), box("Solid", 0, 0, 1600, 1600)])
    semantic = load(tmp_path, tissue_classes={"Solid": "other"})
    assert semantic.pattern is None
    with pytest.raises(ValueError, match="cribriform: not among lepidic, acinar"):
        load(tmp_path, pattern_classes={"Solid": "cribriform"})


def test_files_are_found_by_pattern_folder_or_path(tmp_path: Path) -> None:
    file = write_geojson(tmp_path / "s.geojson", features_of())
    assert_the_cells(load(f"{tmp_path}/{{slide_id}}.geojson"))
    assert_the_cells(load(file))
    assert IMPORT.load is not None
    by_path = IMPORT.load(SlideRef(patient_id="p", slide_id="any", mpp=MPP, path=file), IMPORT.options())
    assert isinstance(by_path, SemanticMap)
    with pytest.raises(ConfigError, match="not named after"):
        load(file, slide_id="t")
    with pytest.raises(SlideError, match="no file of slide t"):
        load(tmp_path, slide_id="t")
    with pytest.raises(SlideError, match="no file of cells named"):
        IMPORT.load(SlideRef(patient_id="p", slide_id="any"), IMPORT.options())
    write_geojson(tmp_path / "s.json", features_of())
    with pytest.raises(SlideError, match=r"s\.geojson and s\.json"):
        load(tmp_path)


def test_the_cervix_polygons_give_features(shared_data: Path) -> None:
    folder = shared_data / "nuclei" / "hgsc"
    assert IMPORT.load is not None
    slide = SlideRef(patient_id="cervix_tissue_crop", slide_id="cervix_nuclei_crop", mpp=0.25)
    classes = {"cin": "cancer_epithelium", "gland": "other", "squamous": "other"}
    options = IMPORT.options(
        cells=f"{folder}/{{slide_id}}.parquet", tissue=f"{folder}/{{patient_id}}.parquet", tissue_classes=classes
    )
    semantic = IMPORT.load(slide, options)
    assert isinstance(semantic, SemanticMap)
    assert semantic.cells.num_rows == 13_364 and semantic.ce_source == "import"
    found = profile(semantic)
    values = dict(zip(found.names, found.values.tolist(), strict=True))
    assert all(found.valid[group] for group in "ABCDE")
    assert 0.2 < values["area_ce"] < 2 and 0.2 < values["area_cs"] < 2
    assert values["tc_ce"] > 3 * values["tc_cs"]
    assert 20 < values["nuc_area_p50"] < 120
