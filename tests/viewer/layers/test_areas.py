"""Layers of areas: what is drawn is what QuPath draws from our GeoJSON, without a seam, and the legend adds up."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from scipy.stats import rankdata

from kras_plugins.data import TISSUE_CLASSES, SemanticMap
from kras_plugins.semantics.cells import CELL_SCHEMA
from kras_plugins.semantics.geojson import TISSUE_COLORS
from kras_plugins.semantics.polygons import trace
from kras_plugins.semantics.raster import Raster
from kras_plugins.slides.tissue import TissueMask
from kras_plugins.viewer.layers.attention import AttentionLayer
from kras_plugins.viewer.layers.contribution import ContributionLayer
from kras_plugins.viewer.layers.explained import Explained
from kras_plugins.viewer.layers.raster import ClassRaster
from kras_plugins.viewer.layers.regions import RegionsLayer
from kras_plugins.viewer.layers.tiles import Tiles
from kras_plugins.viewer.layers.tissue import TissueLayer

EDGE = 0.02
"""GeoJSON is rounded to a hundredth of a pixel: closer to an edge, either side is correct."""


def blobs(shape, seed, n):
    """Patches of classes 0 to n - 1, some of single pixels."""
    rng = np.random.default_rng(seed)
    coarse = (
        rng.integers(0, n, (shape[0] // 4 + 1, shape[1] // 4 + 1)).repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]]
    )
    return np.where(rng.random(shape) < 0.1, rng.integers(0, n, shape), coarse).astype(np.uint8)


def features(layer):
    return json.loads(b"".join(layer.geojson()))["features"]


def where_geojson_says(layer, x, y, named):
    """For each point of a grid the color that QuPath fills it with, and whether it is too near to an edge."""
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    color, unsure = np.zeros((len(points), 3), np.uint8), np.zeros(len(points), bool)
    for feature in features(layer):
        shape = shapely.geometry.shape(feature["geometry"])
        x0, y0, x1, y1 = shape.buffer(1).bounds
        near = np.flatnonzero((points >= (x0, y0)).all(1) & (points <= (x1, y1)).all(1))
        boundary = shape.boundary
        shapely.prepare([shape, boundary])
        color[near[shapely.contains_xy(shape, points[near])]] = named(feature)
        unsure[near] |= shapely.dwithin(boundary, shapely.points(points[near]), EDGE)
    grid = (len(y), len(x))
    return color.reshape(*grid, 3), unsure.reshape(grid)


@pytest.mark.parametrize("seed", range(4))
def test_a_raster_has_the_classes_of_the_polygons_traced_from_it(seed):
    codes = blobs((23, 31), seed, 4)
    x, y = np.linspace(-3, 66, 83), np.linspace(-3, 76, 77)
    found = ClassRaster(codes=codes, step=(2.0, 3.0), origin=(1.0, 2.0)).at(x, y)
    points = np.stack(np.meshgrid((x - 1) / 2, (y - 2) / 3), -1).reshape(-1, 2)
    for code in range(1, 4):
        polygons = [shapely.Polygon(r[0], r[1:]) for r in trace(codes == code, Raster(shape=codes.shape, mpp=1.0))]
        inside = shapely.contains_xy(shapely.MultiPolygon(polygons), points).reshape(found.shape)
        boundary = shapely.MultiPolygon(polygons).boundary
        shapely.prepare(boundary)
        edge = shapely.dwithin(boundary, shapely.points(points), 1e-6)
        np.testing.assert_array_equal((found == code)[~edge.reshape(found.shape)], inside[~edge.reshape(found.shape)])


@pytest.fixture
def regions(pyramid):
    shape = (63, 88)
    analysed = np.ones(shape, bool)
    analysed[:, 80:] = False
    semantic = SemanticMap(
        slide_id="s", cells=CELL_SCHEMA.empty_table(), tissue=blobs(shape, 1, 4), analysed=analysed,
        origin_um=(5.0, -3.0), tissue_mpp=4.0, provides=frozenset(), source="", ce_source="model",
    )  # fmt: skip
    return RegionsLayer(semantic, pyramid.slide_mpp)


def test_regions_are_drawn_as_qupath_draws_our_geojson_and_without_seams(regions, pyramid, seamless, centers):
    for down in (0, 2, 4):
        level = pyramid.top - down
        drawn = seamless(regions, pyramid, level)
        x, y = centers(pyramid, level)
        every = (slice(3, None, 61 >> down), slice(2, None, 53 >> down))
        expected, unsure = where_geojson_says(
            regions, x[every[1]], y[every[0]], lambda f: f["properties"]["classification"]["color"]
        )
        sure = ~unsure
        part = drawn[every]
        np.testing.assert_array_equal(part[..., :3][sure], expected[sure])
        np.testing.assert_array_equal(part[..., 3][sure] == 255, expected.any(-1)[sure])


def test_the_legend_of_regions_says_their_areas_and_keys_choose_among_them(regions, pyramid):
    codes = np.where(regions.semantic.analysed, regions.semantic.tissue, 0)
    assert {e.key: e.count for e in regions.legend} == {
        TISSUE_CLASSES[i]: pytest.approx((codes == i).sum() * 16e-6, abs=6e-4) for i in range(1, 4)
    }
    box, size = pyramid.box(pyramid.top, 0, 0)
    every, stroma, none = (regions.draw(box, size, k) for k in (None, frozenset({"cancer_stroma"}), frozenset()))
    color = (*TISSUE_COLORS["cancer_stroma"], 255)
    np.testing.assert_array_equal(stroma.any(-1), (every == color).all(-1))
    assert not none.any()
    for row, column in ((10, 20), (50, 3), (30, 85)):
        x = (column + 0.5) * 4 + 5, (row + 0.5) * 4 - 3
        expected = None if codes[row, column] == 0 else TISSUE_CLASSES[codes[row, column]].replace("_", " ")
        assert regions.at(x[0] / pyramid.slide_mpp[0], x[1] / pyramid.slide_mpp[1]) == expected


@pytest.fixture
def tiles(pyramid):
    """Tiles of 56.3 µm in a grid as slides/tiles.py cuts it, some left out."""
    side = np.array([56.3 / m for m in pyramid.slide_mpp])
    corners = np.stack(np.meshgrid(np.arange(6), np.arange(4)), -1).reshape(-1, 2) * side
    keep = np.random.default_rng(3).random(len(corners)) < 0.8
    return Tiles(np.rint(corners).astype(np.int32)[keep], tuple(side.tolist()))


@pytest.fixture
def tissue(pyramid, tiles):
    mask = blobs((31, 44), 5, 3)
    blurred = np.arange(len(tiles)) % 5 == 0
    kept = TissueMask(mask=mask == 1, pen=mask == 2, mpp=8.0)
    return TissueLayer(kept, pyramid.size, pyramid.slide_mpp, tiles, blurred)


def test_what_was_left_out_adds_up_to_the_slide_and_has_its_reason(tissue, tiles, pyramid, seamless):
    slide_mm2 = np.prod(np.array(pyramid.size) * pyramid.slide_mpp) / 1e6
    areas = {e.key: e.count for e in tissue.legend}
    assert sum(areas.values()) == pytest.approx(slide_mm2, abs=3e-3)
    assert 0 < areas["blurred"] <= tissue.blurred.sum() * 0.0563**2 * 1.2
    blurred = tiles.xy[5] + np.array(tiles.size) / 2
    assert tissue.left_out(*blurred) == "out of focus"
    for down in (0, 3):
        seamless(tissue, pyramid, pyramid.top - down)
    x, y = tiles.xy[1] + np.array(tiles.size) / 2
    assert tissue.left_out(x, y) is None
    step = np.array(pyramid.size) / (44, 31)
    outside = {1: "tile with too little tissue, or much pen", 2: "pen", 0: "no tissue"}
    mask = tissue.mask.mask + 2 * tissue.mask.pen
    seen = set()
    for row in range(31):
        for column in range(44):
            at = (np.array([column, row]) + 0.5) * step
            if tiles.find(*at) is None:
                assert tissue.left_out(*at) == outside[mask[row, column]]
                seen.add(mask[row, column])
    assert seen == {0, 1, 2}


def test_tissue_without_tiles_lies_where_its_geojson_says(tissue, pyramid, centers):
    bare = TissueLayer(tissue.mask, pyramid.size, pyramid.slide_mpp)
    level = pyramid.top - 3
    x, y = centers(pyramid, level)
    drawn = bare.draw(*_whole(pyramid, level), frozenset({"analyzed", "pen"}))[::5, ::3]
    named = {"tissue": (0, 158, 115), "pen": (213, 94, 0)}
    expected, unsure = where_geojson_says(
        bare, x[::3], y[::5], lambda f: named[f["properties"]["classification"]["name"]]
    )
    np.testing.assert_array_equal(drawn[..., :3][~unsure], expected[~unsure])


def _whole(pyramid, level):
    from kras_plugins.viewer.geometry import Box

    side, (width, height) = 1 << (pyramid.top - level), pyramid.level_size(level)
    return Box(0, 0, width * side / pyramid.scale[0], height * side / pyramid.scale[1]), (width, height)


@pytest.fixture
def explained(tiles):
    rng = np.random.default_rng(0)
    attention, contribution = rng.lognormal(size=len(tiles)), rng.normal(size=len(tiles))
    attention[:6] = contribution[:6] = np.nan
    contribution[6] = 0.0
    return Explained(tiles, attention, contribution)


def test_attention_is_the_percentile_among_tiles_and_lies_where_its_geojson_says(explained, pyramid, seamless, centers):
    from matplotlib import colormaps

    layer = AttentionLayer(explained, "")
    looked = np.isfinite(explained.attention)
    assert sum(e.count for e in layer.legend) == looked.sum()
    ranks = (rankdata(explained.attention[looked]) - 1) / (looked.sum() - 1)
    colors = np.zeros((len(looked), 3))
    colors[looked] = 255 * colormaps["cividis"](ranks)[:, :3]
    by_value = dict(zip(explained.attention.tolist(), colors, strict=True))
    seamless(layer, pyramid, pyramid.top)
    level = pyramid.top - 2
    drawn = seamless(layer, pyramid, level)
    x, y = centers(pyramid, level)
    expected, unsure = where_geojson_says(
        layer, x[::5], y[::3], lambda f: by_value.get(f["properties"]["measurements"].get("attention"), 0)
    )
    assert np.abs(drawn[::3, ::5, :3].astype(int) - expected)[~unsure].max() <= 3  # the colors of a thousand steps
    top = layer.draw(*_whole(pyramid, level), frozenset({"fifth5"}))
    assert 0 < top[..., 3].astype(bool).sum() < drawn[..., 3].astype(bool).sum()


def test_contributions_of_one_size_are_equally_far_from_neutral_and_unseen_tiles_are_hatched(tiles, pyramid, seamless):
    values = np.zeros(len(tiles))
    values[:5] = 2.0, -2.0, 1.0, -1.0, np.nan
    layer = ContributionLayer(Explained(tiles, np.abs(values), values), "")
    assert {e.key: e.count for e in layer.legend} == {"raises": 2, "lowers": 2, "unseen": 1}
    drawn = seamless(layer, pyramid, pyramid.top)
    middle = [tuple(np.floor((xy + np.array(tiles.size) / 2) * pyramid.scale).astype(int)) for xy in tiles.xy[:6]]
    up, down, less_up, less_down, unseen, neutral = (drawn[y, x].astype(int) for x, y in middle)
    raises, lowers = (np.array(tuple(bytes.fromhex(e.color[1:]))) for e in layer.legend[:2])
    np.testing.assert_array_equal(up, [*raises, 255])
    np.testing.assert_array_equal(down, [*lowers, 255])
    assert less_up[3] == less_down[3]
    assert neutral[3] < less_up[3] < up[3]
    assert np.ptp(neutral[:3]) == 0
    np.testing.assert_allclose((up - neutral)[:3] / 2, (less_up - neutral)[:3], atol=1)
    np.testing.assert_allclose((down - neutral)[:3] / 2, (less_down - neutral)[:3], atol=1)
    x, y = middle[4]
    area = drawn[y - 8 : y + 8, x - 8 : x + 8, 3] > 0
    assert area.mean() == 0.25
    assert unseen[3] in (0, 255)
    only = layer.draw(*pyramid.box(pyramid.top, 0, 0), frozenset({"lowers"}))
    assert {tuple(c) for c in only[only[..., 3] > 0][:, :3]} <= {tuple(down[:3]), tuple(less_down[:3])}
    assert "not a counterfactual" in layer.note
    assert "not that of the ensemble" in layer.note


def test_overlapping_tiles_are_averaged_and_a_point_belongs_to_the_nearest_center():
    tiles = Tiles(np.array([[0, 0], [4, 0]], np.int32), (8.0, 8.0))
    from kras_plugins.viewer.layers.frame import Frame

    total, count = tiles.cover(Frame((12, 9), (1.0, 1.0), (0.0, 0.0)), np.array([10, 30]))
    np.testing.assert_array_equal(count[0], [1] * 4 + [2] * 4 + [1] * 4)
    np.testing.assert_array_equal(total[0], [10] * 4 + [40] * 4 + [30] * 4)
    assert not count[8].any()
    assert [tiles.find(x, 1) for x in (5.9, 6.1, 12.0)] == [0, 1, None]
