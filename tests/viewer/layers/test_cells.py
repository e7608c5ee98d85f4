"""The layer of cells: outlines where the file has them, circles of their areas, densities that count every cell."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely

from kras_plugins.data import CELL_CLASSES
from kras_plugins.semantics.cells import CellWriter, cell_batch
from kras_plugins.semantics.geojson import COLORS
from kras_plugins.semantics.map import CELLS
from kras_plugins.semantics.wkb import encode_alike
from kras_plugins.viewer.geometry import Box, Pyramid
from kras_plugins.viewer.layers.cells import CellsLayer

NAMES = ("tumor", "lymphocyte", "fibroblast")


def write(folder, xy_um, classes, mpp, *, radius_um=4.0, outlines=True, probability=None, area=None):
    """`cells.parquet` of dodecagons, as `kras profile` writes it."""
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rings = (xy_um[:, None] + radius_um * np.stack([np.cos(turn), np.sin(turn)], 1)) / np.array(mpp)
    columns = {
        "x_um": xy_um[:, 0], "y_um": xy_um[:, 1], "x_px": xy_um[:, 0] / mpp[0], "y_px": xy_um[:, 1] / mpp[1],
        "prob": np.full(len(xy_um), 0.75) if probability is None else probability,
        "area_um2": np.full(len(xy_um), np.pi * radius_um**2) if area is None else area,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    with CellWriter(folder / CELLS) as writer:
        writer.write(cell_batch(list(classes), columns, encode_alike(rings) if outlines else None))
    return shapely.polygons(rings)


def scattered(pyramid, n=400, seed=0):
    size = np.array(pyramid.size) * pyramid.slide_mpp
    rng = np.random.default_rng(seed)
    return rng.uniform(0, size, (n, 2)), rng.choice(NAMES, n)


@pytest.mark.parametrize("outlines", [True, False])
def test_cells_are_drawn_without_seams_at_every_level(pyramid, seamless, tmp_path, outlines):
    xy, classes = scattered(pyramid)
    write(tmp_path, xy, classes, pyramid.slide_mpp, outlines=outlines)
    layer = CellsLayer.read(tmp_path, pyramid)
    for level in range(pyramid.top, pyramid.top - 6, -1):
        seamless(layer, pyramid, level)
    seamless(layer, pyramid, pyramid.top, frozenset({"tumor"}))


def test_the_legend_counts_the_cells_of_each_class(pyramid, tmp_path):
    xy, classes = scattered(pyramid)
    write(tmp_path, xy, classes, pyramid.slide_mpp)
    layer = CellsLayer.read(tmp_path, pyramid)
    assert {e.key: e.count for e in layer.legend} == {n: int((classes == n).sum()) for n in NAMES}
    assert {e.key: tuple(bytes.fromhex(e.color[1:])) for e in layer.legend} == {n: COLORS[n] for n in NAMES}


def test_outlines_lie_within_a_pixel_of_those_that_qupath_draws(pyramid, tmp_path, centers):
    """Planted on a grid: every drawn pixel is near to the GeoJSON's outline, and every point of that is drawn."""
    size = np.array(pyramid.size) * pyramid.slide_mpp
    xy = np.stack(np.meshgrid(np.arange(15, size[0], 40), np.arange(15, size[1], 40)), -1).reshape(-1, 2)
    shapes = write(tmp_path, xy, ["tumor"] * len(xy), pyramid.slide_mpp)
    layer = CellsLayer.read(tmp_path, pyramid)
    level = pyramid.top - (1 if pyramid.mpp < 0.3 else 0)
    side = 1 << (pyramid.top - level)
    across, along = centers(pyramid, level)
    box = Box(0, 0, len(across) * side / pyramid.scale[0], len(along) * side / pyramid.scale[1])
    drawn = layer.draw(box, (len(across), len(along)), None)
    rows, columns = np.nonzero(drawn[..., 3])
    lines = shapely.MultiLineString([np.array(s.exterior.coords) * pyramid.scale / side for s in shapes])
    shapely.prepare(lines)
    assert shapely.dwithin(lines, shapely.points(columns + 0.5, rows + 0.5), 1.8).all()
    along_lines = np.concatenate([s.exterior.segmentize(1.0).segmentize(0.5).coords for s in shapes])
    x, y = np.floor(along_lines * pyramid.scale / side).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < len(across)) & (y < len(along))
    assert (drawn[y[inside], x[inside], 3] > 0).all()
    assert np.abs(drawn[rows, columns, :3].astype(int) - COLORS["tumor"]).max() <= 4  # reduced with their opacity


def test_dots_and_rings_have_the_area_of_their_cells(tmp_path):
    pyramid = Pyramid((2000, 2000), (0.5, 0.5))
    write(tmp_path, np.array([[500.3, 500.7]]), ["lymphocyte"], (0.5, 0.5), radius_um=9.0, outlines=False)
    layer = CellsLayer.read(tmp_path, pyramid)
    dot = layer.draw(Box(900, 900, 200, 200), (100, 100), None)[..., 3] > 0
    assert dot.sum() == pytest.approx(np.pi * 9**2, rel=0.05)
    ring = layer.draw(Box(900, 900, 200, 200), (200, 200), None)[..., 3] > 0
    rows, columns = np.nonzero(ring)
    away = np.hypot(columns + 0.5 - 100.6, rows + 0.5 - 101.4)
    assert away.max() <= 18 <= away.max() + 1
    assert away.min() >= 16.5


def test_densities_count_every_cell_and_show_the_commonest_class(tmp_path):
    pyramid = Pyramid((8000, 6000), (0.25, 0.25))
    rng = np.random.default_rng(1)
    xy, classes = rng.uniform((0, 0), (2000, 1500), (5000, 2)), rng.choice(NAMES, 5000)
    write(tmp_path, xy, classes, (0.25, 0.25), outlines=False)
    layer = CellsLayer.read(tmp_path, pyramid)
    assert {int(level.sum()) for level in layer.density.levels} == {5000}
    for level in (pyramid.top - 5, pyramid.top - 7):
        side_um = 0.25 * 2 ** (pyramid.top - level)
        width, height = pyramid.level_size(level)
        box = Box(0, 0, width * side_um / 0.25, height * side_um / 0.25)
        drawn = layer.draw(box, (width, height), None)
        edges = [np.arange(n + 1) * side_um for n in (height, width)]
        counts = np.stack([np.histogram2d(*xy[classes == n][:, ::-1].T, bins=edges)[0] for n in NAMES])
        expected = 255 * (1 - np.exp(-counts.sum(0) * 150 / side_um**2))
        np.testing.assert_allclose(drawn[..., 3], expected, atol=1)
        clear = np.sort(counts, 0)[-1] > np.sort(counts, 0)[-2]
        colors = np.array([COLORS[n] for n in NAMES])[counts.argmax(0)]
        np.testing.assert_array_equal(drawn[clear][:, :3], colors[clear])
        none = layer.draw(box, (width, height), frozenset({"plasma"}))
        assert not none.any()


def test_a_point_has_the_values_of_its_cell(tmp_path):
    pyramid = Pyramid((2000, 2000), (0.25, 0.5))
    xy = np.array([[100.0, 200.0], [112.0, 200.0], [400.0, 900.0]])
    probability = np.array([0.9, 0.25, np.nan])
    write(tmp_path, xy, ["tumor", "plasma", "other"], (0.25, 0.5), probability=probability)
    layer = CellsLayer.read(tmp_path, pyramid)
    found = layer.at(109 / 0.25, 200 / 0.5)
    assert (found["class"], found["probability"], found["distance_um"]) == ("plasma", 0.25, 3.0)
    assert found["area_um2"] == pytest.approx(np.pi * 16, abs=1e-3)
    assert found["xy"] == [448.0, 400.0]
    assert layer.at(100 / 0.25, 200 / 0.5)["class"] == "tumor"
    assert layer.at(400 / 0.25, 900 / 0.5)["probability"] is None
    assert layer.at(100 / 0.25, 220 / 0.5) is None
    assert layer.at(-500, 5000) is None


def test_a_map_without_cells_draws_nothing(tmp_path):
    pyramid = Pyramid((2000, 2000), (0.5, 0.5))
    write(tmp_path, np.zeros((0, 2)), [], (0.5, 0.5), outlines=False)
    layer = CellsLayer.read(tmp_path, pyramid)
    assert layer.legend == ()
    assert layer.at(5, 5) is None
    for level in range(pyramid.top + 1):
        assert not layer.draw(*pyramid.box(level, 0, 0), None).any()


def test_cells_of_unknown_area_are_circles_and_classes_keep_their_colors(tmp_path):
    pyramid = Pyramid((2000, 2000), (0.5, 0.5))
    xy = np.stack([np.arange(len(CELL_CLASSES)) * 50.0 + 25, np.full(len(CELL_CLASSES), 30.0)], 1)
    write(tmp_path, xy, CELL_CLASSES, (0.5, 0.5), outlines=False, area=np.full(len(xy), np.nan))
    layer = CellsLayer.read(tmp_path, pyramid)
    drawn = layer.draw(Box(0, 0, 2000, 100), (1000, 50), None)
    for (x, y), name in zip(xy.astype(int), CELL_CLASSES, strict=True):
        np.testing.assert_array_equal(drawn[y, x], [*COLORS[name], 255])
    assert layer.at(xy[0, 0] / 0.5, xy[0, 1] / 0.5)["area_um2"] is None


def test_cells_are_downloaded_as_the_profile_writes_them(tmp_path):
    from kras_plugins.data import SemanticMap
    from kras_plugins.semantics.cells import CELL_SCHEMA
    from kras_plugins.semantics.geojson import write_cells_geojson
    from kras_plugins.semantics.map import read_map, write_map

    empty = np.zeros((250, 250), np.uint8)
    semantic = SemanticMap(
        slide_id="s", cells=CELL_SCHEMA.empty_table(), tissue=empty, analysed=empty > 0, origin_um=(0.0, 0.0),
        tissue_mpp=4.0, provides=frozenset(), source="", ce_source="model",
    )  # fmt: skip
    write_map(tmp_path, semantic)
    write(tmp_path, np.array([[100.0, 50.0], [300.0, 400.0]]), ["tumor", "plasma"], (0.5, 0.5))
    layer = CellsLayer.read(tmp_path, Pyramid((4000, 4000), (0.5, 0.5)))
    write_cells_geojson(read_map(tmp_path), tmp_path / "cells.geojson", (0.5, 0.5))
    downloaded = b"".join(layer.geojson())
    assert downloaded == (tmp_path / "cells.geojson").read_bytes()
    assert len(json.loads(downloaded)["features"]) == 2
