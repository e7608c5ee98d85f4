"""Imported cells that cannot be meant: one clear error each, or NaN with a flag."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from cell_files import MPP, NAMES, XY, R, area, box, feature, features_of, lattice, load, ring, write_geojson

from kras_plugins.errors import ConfigError, SlideError
from kras_plugins.host.notes import noted
from kras_plugins.semantics.features.table import FEATURES
from kras_plugins.semantics.profile import profile
from kras_profiler_import import documents


def test_micrometers_taken_for_pixels_are_refused_with_the_numbers(tmp_path: Path) -> None:
    features = [feature(ring(x * MPP, y * MPP, R * MPP), n) for (x, y), n in zip(XY, NAMES, strict=True)]
    write_geojson(tmp_path / "s.geojson", features)
    with pytest.raises(SlideError, match=r"micrometers.*2\.0 µm across.*x from 50 to 188") as e:
        load(tmp_path)
    assert "s.geojson" in e.value.message and "units=um" in e.value.hint
    np.testing.assert_allclose(load(tmp_path, units="um").cells["x_px"], XY[:, 0], atol=0.3)
    np.testing.assert_allclose(load(tmp_path, units=1.0).cells["x_px"], XY[:, 0], atol=0.3)


def test_points_in_micrometers_are_refused_by_their_spacing(tmp_path: Path) -> None:
    rows = "\n".join(f"{x * MPP},{y * MPP},{name}" for (x, y), name in zip(XY, NAMES, strict=True))
    (tmp_path / "s.csv").write_text(f"x,y,class\n{rows}\n")
    with pytest.raises(SlideError, match=r"micrometers.*3\.1 µm apart.*800 x 800 pixels of 0\.25"):
        load(tmp_path, width=800, height=800)


def test_coordinates_of_a_tile_are_refused_with_the_numbers(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    with pytest.raises(SlideError, match=r"of a tile: x from 200 to 750 .* 9,000 x 7,000"):
        load(tmp_path, width=9_000, height=7_000)
    assert load(tmp_path, width=9_000, height=7_000, units="px").cells.num_rows == len(XY)


def test_tiles_on_top_of_each_other_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    piled = [feature(ring(x, y), "tumor") for _ in range(9) for x, y in XY + rng.uniform(0, 50, 2)]
    write_geojson(tmp_path / "s.geojson", piled)
    with pytest.raises(SlideError, match="on top of each other"):
        load(tmp_path)


def test_cells_off_the_slide_are_refused_with_the_numbers(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    with pytest.raises(SlideError, match=r"off the slide: .*750.* 500 x 500"):
        load(tmp_path, width=500, height=500)


def test_polygons_that_cross_themselves_are_mended_and_counted(
    tmp_path: Path,
) -> None:
    features = features_of()
    x, y = XY[0]
    bow = [[x - 20, y - 20], [x + 20, y + 20], [x + 20, y - 20], [x - 20, y + 20]]
    features[0]["geometry"] = {"type": "Polygon", "coordinates": [[*bow, bow[0]]]}
    write_geojson(tmp_path / "s.geojson", features)
    for _ in range(2):  # the second time it is in the store
        with noted(lambda _: None) as notes:
            semantic = load(tmp_path)
        assert any("1 of 144 outlines" in note for note in notes)
    assert semantic.cells["area_um2"][0].as_py() == pytest.approx(400 * MPP**2)  # one of two triangles
    assert all(shapely.is_valid(shapely.from_wkb(pq.read_table(semantic.outlines)["geometry"].to_numpy())))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "damaged or incomplete JSON"),
        ('{"type": "FeatureCollection", "features": [', "damaged or incomplete JSON"),
        ('{"type": "FeatureCollection", "features": []}', "contains no cells"),
        ('{"shapes": 3}', "neither GeoJSON nor"),
        ('{"features": [{"type": "Feature", "geometry": {"type": "Polygon"}, "properties": {}}]}', "feature 1 is malf"),
        ('{"features": [{"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}]}', "feature 1 is malf"),
        ('{"nuc": {"1": {"centroid": null, "contour": [], "type": 1}}}', "neither a position nor"),
        ('{"nuc": {"1": {"contour": [[0, 0], [1], [2, 2]], "type": 1}}}', "not a list of x and y"),
        ('{"nuc": {"1": {"contour": [["a", 0], [1, 1], [2, 2]], "type": 1}}}', "not a list of x and y"),
    ],
)
def test_a_broken_document_is_set_aside_with_its_cause(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "s.geojson").write_text(content)
    with pytest.raises(SlideError, match=message) as e:
        load(tmp_path)
    assert "s.geojson" in e.value.message


def test_other_broken_files_are_set_aside_with_their_cause(tmp_path: Path) -> None:
    for name, content in (("s.parquet", b"PAR1"), ("s.csv.gz", b"nothing"), ("s.csv", b"x,y,class\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SlideError, match=name):
            load(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "s.csv").write_text("x,y,class\n1,2,tumor\n3,?,tumor\n")
    with pytest.raises(SlideError, match=r"s\.csv"):
        load(tmp_path)


def test_a_slide_without_mpp_is_told_how_to_state_it(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", features_of())
    with pytest.raises(SlideError, match="how many micrometers") as e:
        load(tmp_path, mpp=None)
    assert "profiler.import.mpp" in e.value.hint


def profiled(tmp_path: Path, cells: list[dict[str, object]], **options: object) -> tuple[dict[str, float], set[str]]:
    """Features by name and the groups that are valid, of cells imported with all three classes known."""
    write_geojson(tmp_path / "s.geojson", cells)
    found = profile(load(tmp_path, provides=["tumor", "lymphocyte", "fibroblast"], **options))
    assert not np.isinf(found.values).any()
    missing = {name for name, value in zip(found.names, found.values, strict=True) if np.isnan(value)}
    valid = {group for group, ok in found.valid.items() if ok}
    assert missing >= {f.name for f in FEATURES if f.group not in valid}
    return dict(zip(found.names, found.values.tolist(), strict=True)), valid


def test_no_tumor_cells_give_nan_with_a_flag_not_zero(tmp_path: Path) -> None:
    values, valid = profiled(tmp_path, [feature(ring(x, y), "Lymphocyte") for x, y in XY])
    assert "A" in valid and not valid & set("BCEFGHIJKLMN")
    assert np.isnan(values["lt_ratio"]) and np.isnan(values["itil"])
    assert values["area_tissue"] > 0


def test_no_lymphocytes_give_zero_densities_and_missing_distances(tmp_path: Path) -> None:
    cells = [feature(ring(x, y), "Tumor") for x, y in lattice(50)]
    values, valid = profiled(tmp_path, [*cells, box("Tumor", 0, 0, 2000, 2800), box("Stroma", 2000, 0, 2800, 2800)])
    assert "B" in valid and not valid & set("FI")
    assert values["itil"] == values["stil"] == values["lt_ratio"] == values["tls_count"] == 0
    for name in ("d_tl_p50", "d_lt_p50", "moran_l", "lym_area_median", "til_cluster_size"):
        assert np.isnan(values[name]), name


def test_a_biopsy_of_a_third_of_a_square_millimeter_lacks_only_what_needs_more(tmp_path: Path) -> None:
    """0.3 mm²: 400 by 750 µm of tumor and stroma with a cell every 12.5 µm."""
    x, y = np.meshgrid(np.arange(32), np.arange(60))
    at = np.stack([x.ravel(), y.ravel()], 1) * 50.0 + 25
    cells = [feature(ring(*xy), "Tumor" if i % 5 else "Lymphocyte") for i, xy in enumerate(at)]
    values, valid = profiled(tmp_path, [*cells, box("Tumor", 0, 0, 1600, 1800), box("Stroma", 0, 1800, 1600, 3000)])
    assert values["area_ta"] == pytest.approx(0.3, rel=0.01)
    assert valid == set("ABCEFGIJKLMN")  # too small for squares of 1 mm² and for hotspots
    assert values["purity"] == pytest.approx(0.8)
    for name in ("is", "ip_class", "grid_itil_p50", "immune_hs_frac", "n_grids"):
        assert np.isnan(values[name]), name


@pytest.mark.parametrize("what", ["cell", "annotation"])
def test_an_error_about_classes_names_the_file(tmp_path: Path, what: str) -> None:
    features = [*features_of(), box("Widget", 0, 0, 1600, 1600)] if what == "annotation" else features_of()
    if what == "cell":
        features[7]["properties"] = {"classification": {"name": "Widget"}}
    with pytest.raises(ConfigError, match=rf"s\.geojson: unknown {what} classes: 'Widget' \(1\)"):
        load(write_geojson(tmp_path / "s.geojson", features))


@pytest.mark.parametrize("twice", ["Phenotype", "x"])
def test_a_column_of_cells_that_is_there_twice_is_refused_not_chosen(tmp_path: Path, twice: str) -> None:
    rows = [f"{x},{y},{name},{y if twice == 'x' else 'Stroma'}" for (x, y), name in zip(XY, NAMES, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join([f"x,y,Phenotype,{twice}", *rows]) + "\n")
    with pytest.raises(ConfigError, match=rf"s\.csv: column '{twice}' appears twice"):
        load(tmp_path)


@pytest.mark.parametrize("own", [True, False])
def test_truth_values_are_no_places(tmp_path: Path, own: bool) -> None:
    x, y, name = ("x_px", "y_px", "class") if own else ("x", "y", "Phenotype")
    table = {x: pa.array([True] * len(XY)), y: XY[:, 1], name: NAMES}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    with pytest.raises(SlideError, match=rf"s\.parquet: column '{x}' holds truth values"):
        load(tmp_path)


def test_what_arrow_says_of_damage_stays_on_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": XY[:, 0], "y": XY[:, 1], "Phenotype": NAMES}), tmp_path / "s.parquet")
    content = (tmp_path / "s.parquet").read_bytes()
    (tmp_path / "s.parquet").write_bytes(content[:-200] + b"\xff" * 150 + content[-50:])
    with pytest.raises(SlideError, match=r"s\.parquet: damaged") as e:
        load(tmp_path)
    assert e.value.message.isprintable()


def test_annotations_that_cross_themselves_cover_what_they_enclose(tmp_path: Path) -> None:
    bow = feature([[0, 0], [1600, 1600], [1600, 0], [0, 1600]], "Tumor", objectType="annotation")
    write_geojson(tmp_path / "s.geojson", [*features_of(), box("Stroma", 0, 0, 1600, 1600), bow])
    semantic = load(tmp_path, width=2400, height=2000)
    assert area(semantic, "cancer_epithelium") == pytest.approx(0.4**2 / 2, rel=0.02)
    assert area(semantic, "cancer_stroma") == pytest.approx(0.4**2 / 2, rel=0.02)


def test_four_times_the_features_take_hardly_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature as Python objects takes some 4 kB; streamed, little more than its coordinates stays."""
    monkeypatch.setattr(documents, "CELLS_AT_ONCE", 64)
    peak = {}
    load(write_geojson(tmp_path / "s.geojson", features_of()))  # imports what is imported late
    for side, step in ((30, 80), (60, 40)):  # the same area, so that rasters are the same
        features = [feature(ring(x, y, n=16), "Tumor") for x, y in lattice(side, step)]
        file = write_geojson(tmp_path / f"s{side}.geojson", features)
        tracemalloc.start()
        assert load(file, slide_id=file.stem).cells.num_rows == side**2
        peak[side**2] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak[3600] - peak[900] < 400 * (3600 - 900)
