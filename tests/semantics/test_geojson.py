"""GeoJSON for QuPath, and masks to polygons and back."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.semantics.geojson import slide_mpp, write_cells_geojson, write_tissue_geojson
from kras_plugins.semantics.map import read_map, write_map
from kras_plugins.semantics.polygons import fill, trace
from kras_plugins.semantics.raster import Raster

MASKS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((13, 17)) < 0.5)


@settings(deadline=None, max_examples=40)
@given(MASKS, st.floats(0.5, 9.0), st.floats(-50, 50))
def test_a_mask_that_was_traced_fills_to_itself(mask, mpp, origin):
    """Any mask: holes, islands in holes, touching corners, the raster's edge."""
    raster = Raster(shape=mask.shape, mpp=mpp, origin_um=(origin, -origin))
    again = np.zeros_like(mask)
    for rings in trace(mask, raster):
        row, column, part = fill(rings, raster)
        again[row : row + part.shape[0], column : column + part.shape[1]] ^= part
    np.testing.assert_array_equal(again, mask)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_filling_agrees_with_shapely(seed):
    rng = np.random.default_rng(seed)
    raster = Raster(shape=(30, 40), mpp=2.0, origin_um=(5.0, 3.0))
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(5, 60, 9)
    ring = np.stack([45 + radius * np.cos(angle), 33 + radius * np.sin(angle)], 1)
    row, column, part = fill([ring], raster)
    found = np.zeros(raster.shape, bool)
    found[row : row + part.shape[0], column : column + part.shape[1]] = part
    x, y = np.meshgrid(*raster.centers())
    np.testing.assert_array_equal(found, shapely.contains_xy(shapely.Polygon(ring), x, y))


def test_a_polygon_off_the_raster_fills_nothing():
    raster = Raster(shape=(10, 10), mpp=1.0)
    for shift in (-50, 50):
        assert not fill([np.array([[0, 0], [5, 0], [5, 5]]) + shift], raster)[2].any()
    assert fill([np.array([[-9, -9], [50, -9], [50, 50], [-9, 50]])], raster)[2].all()
    assert trace(np.zeros((5, 5), bool), raster) == []


def features(path):
    raw = path.read_bytes()
    return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)


def test_points_become_points_and_probabilities_measurements(make_map, tmp_path):
    write_cells_geojson(make_map([[100, 50]], ["tumor"], prob=[0.25]), tmp_path / "c.geojson")
    (cell,) = features(tmp_path / "c.geojson")["features"]
    assert cell["geometry"] == {"type": "Point", "coordinates": [200, 100]}
    assert cell["properties"]["objectType"] == "detection"
    assert cell["properties"]["classification"]["name"] == "tumor"
    assert cell["properties"]["measurements"] == {"prob": 0.25}


def test_compressed_and_plain_hold_the_same_and_do_so_twice(make_map, nest, tmp_path):
    xy, classes, regions = nest
    semantic = make_map(xy, classes, regions=regions)
    for name in ("a.geojson", "a.geojson.gz", "b.geojson.gz"):
        write_cells_geojson(semantic, tmp_path / name, (0.5, 0.5))
    assert features(tmp_path / "a.geojson") == features(tmp_path / "a.geojson.gz")
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    facts = features(tmp_path / "a.geojson")["kras"]
    assert (facts["mpp"], facts["size"]) == (0.5, [4000, 4000])
    write_cells_geojson(make_map(), tmp_path / "none.geojson")
    assert features(tmp_path / "none.geojson")["features"] == []


def test_tissue_annotations_have_their_areas_in_level_0_pixels(make_map, tmp_path):
    regions = (("cancer_stroma", 0, 0, 800, 800), ("cancer_epithelium", 200, 200, 600, 600))
    write_tissue_geojson(make_map(regions=regions), tmp_path / "t.geojson", (0.5, 0.25))
    found = features(tmp_path / "t.geojson")["features"]
    assert {f["properties"]["objectType"] for f in found} == {"annotation"}
    area = {f["properties"]["classification"]["name"]: shapely.geometry.shape(f["geometry"]).area for f in found}
    # corners are cut by an eighth of a pixel of 4 µm; a hole has its corners too
    corner = 4 * 16 / 8 * 8
    assert area["cancer_epithelium"] == pytest.approx(400 * 400 * 8 - corner, abs=1)
    assert area["cancer_stroma"] == pytest.approx((800 * 800 - 400 * 400) * 8 - corner + corner, abs=1)
    assert all(shapely.is_valid(shapely.geometry.shape(f["geometry"])) for f in found)


def test_tissue_that_was_not_analysed_is_left_out(make_map, tmp_path):
    analysed = np.zeros((500, 500), bool)
    analysed[:100] = True
    semantic = make_map(regions=(("necrosis", 0, 0, 800, 800),), analysed=analysed)
    write_tissue_geojson(semantic, tmp_path / "t.geojson", (0.5, 0.5))
    (found,) = features(tmp_path / "t.geojson")["features"]
    assert shapely.geometry.shape(found["geometry"]).bounds == (0, 0, 1600, 800)


def test_the_resolution_is_what_the_cells_say(make_map):
    assert slide_mpp(make_map([[10, 20], [300, 400]], ["tumor"] * 2, mpp=0.5)) == pytest.approx((0.5, 0.5))
    assert slide_mpp(make_map()) is None


def test_outlines_are_written_as_polygons(make_map, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from kras_plugins.semantics import wkb

    write_map(tmp_path, make_map([[100, 50]], ["tumor"]))
    ring = np.array([[190, 90], [210, 90], [210, 110.25]])
    table = pq.read_table(tmp_path / "cells.parquet")
    table = table.set_column(table.schema.get_field_index("geometry"), "geometry", [pa.array(wkb.encode([ring]))])
    pq.write_table(table, tmp_path / "cells.parquet")
    write_cells_geojson(read_map(tmp_path), tmp_path / "c.geojson")
    (cell,) = features(tmp_path / "c.geojson")["features"]
    assert cell["geometry"]["coordinates"] == [[*ring.tolist(), ring[0].tolist()]]
