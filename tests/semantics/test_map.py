"""Maps on disk, GeoJSON, patients, and the whole way from a slide to its profile."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kras_plugins.contracts.profiler import Tile
from kras_plugins.data import TISSUE_CLASSES, SemanticProfile, TileGrid, TileSpec
from kras_plugins.errors import ConfigError, StoreError
from kras_plugins.processing.decoding import decode_tile
from kras_plugins.processing.placement import placement
from kras_plugins.processing.seams import Seams, rim_of
from kras_plugins.semantics.cells import CellWriter, cell_batch
from kras_plugins.semantics.geojson import write_cells_geojson
from kras_plugins.semantics.map import TissueCanvas, finish_map, read_map, unlike_share, write_map
from kras_plugins.semantics.patient import combine
from kras_plugins.semantics.profile import from_json, profile, to_json
from kras_plugins.semantics.raster import Patch, raster_over


def test_a_map_comes_back_as_it_was_written(tmp_path, make_map, nest):
    xy, classes, regions = nest
    before = make_map(xy, classes, regions=regions, origin=(12.0, 8.0), prob=np.linspace(0, 1, len(xy)))
    write_map(tmp_path, before)
    after = read_map(tmp_path)
    assert after.cells.equals(before.cells) and after.outlines is None
    np.testing.assert_array_equal(after.tissue, before.tissue)
    np.testing.assert_array_equal(after.analysed, before.analysed)
    for name in ("slide_id", "origin_um", "tissue_mpp", "provides", "source", "ce_source"):
        assert getattr(after, name) == getattr(before, name), name
    assert read_map(tmp_path, slide_id="other").slide_id == "other"


def finished(folder, unlike, tissue=None, pen=None):
    """A map of 2 mm x 2 mm with tumor cells all over a square of 1 mm², of which the profiler says what is unlike."""
    raster = raster_over(2000, 2000)
    canvas = TissueCanvas(raster)
    canvas.paste(Patch(row=0, column=0, unlike=unlike, tissue=tissue))
    x, y = (a.ravel() for a in np.meshgrid(np.arange(500, 1500, 20.0), np.arange(500, 1500, 20.0)))
    with CellWriter(folder / "cells.parquet") as writer:
        writer.write(cell_batch(["tumor"] * len(x), {"x_um": x, "y_um": y}, None))
    grid = TileGrid(
        spec=TileSpec(px=4000, mpp=0.5), xy=np.zeros((1, 2), np.int32), size=(4000, 4000), tissue=np.ones(1, np.float32)
    )
    finish_map(
        folder,
        slide_id="s",
        canvas=canvas,
        tissue_mask=np.ones((100, 100), bool),
        pen=pen,
        size_um=(2000, 2000),
        grid=grid,
        mpp=(0.5, 0.5),
        provides=frozenset({"tumor"} | ({"cancer_epithelium", "cancer_stroma"} if tissue is not None else set())),
        source="t",
    )
    return read_map(folder)


def test_cancer_epithelium_and_stroma_do_not_count_where_tissue_is_unlike_training(tmp_path):
    unlike = np.zeros((500, 500), bool)
    plain = finished(tmp_path, unlike)
    assert plain.unlike_share == 0 and np.isin(plain.tissue, (1, 2)).any()
    unlike[100:300, 100:300] = True  # 16 % of the tissue, a corner of the tumor among it
    some = finished(tmp_path, unlike)
    assert some.unlike_share == pytest.approx(0.16)
    other = TISSUE_CLASSES.index("other")
    np.testing.assert_array_equal(some.tissue, np.where(unlike & (plain.tissue > 0), other, plain.tissue))
    drawn = finished(tmp_path, unlike, tissue=np.ones((500, 500), np.uint8))  # a tissue model's classes neither
    np.testing.assert_array_equal(drawn.tissue, np.where(unlike, other, 1))


def test_tissue_beside_a_pen_mark_is_not_called_unlike_training(tmp_path):
    unlike, pen = np.zeros((500, 500), bool), np.zeros((100, 100), bool)
    plain = finished(tmp_path, unlike)
    pen[:, 10:14] = True  # from 200 to 280 µm across
    unlike[:, 10:110] = True  # from 40 to 440 µm: all of it within reach
    beside = finished(tmp_path, unlike, pen=pen)
    assert beside.unlike_share == 0
    np.testing.assert_array_equal(beside.tissue, plain.tissue)
    unlike[:, 450:] = True
    far = finished(tmp_path, unlike, pen=pen)
    assert far.unlike_share == pytest.approx(200 / 1600)  # of what is judged
    unlike[:, 300:] = True  # 800 of 1,600 µm that are judged
    assert not np.isin(finished(tmp_path, unlike, pen=pen).tissue, (1, 2)).any()


def test_no_part_of_a_slide_counts_as_cancer_of_which_more_than_a_quarter_is_unlike_training(tmp_path):
    unlike = np.zeros((500, 500), bool)
    unlike[:, :130] = True  # where no tumor cell is
    found = finished(tmp_path, unlike)
    assert found.unlike_share == pytest.approx(0.26) and not np.isin(found.tissue, (1, 2)).any()
    made = profile(found)
    v = dict(zip(made.names, made.values.tolist(), strict=True))
    assert (v["area_ce"], v["area_ta"], v["area_tissue"]) == (0, 0, pytest.approx(4.0))
    assert made.unlike_share == found.unlike_share and not any(valid for g, valid in made.valid.items() if g != "A")
    assert from_json(to_json(made), "again").unlike_share == made.unlike_share
    write_map(tmp_path, found)
    assert read_map(tmp_path).unlike_share == unlike_share(tmp_path) == found.unlike_share


def test_a_map_whose_source_does_not_say_what_is_unlike_has_no_share(tmp_path, make_map):
    write_map(tmp_path, make_map([[1, 1]], ["tumor"]))
    assert read_map(tmp_path).unlike_share is unlike_share(tmp_path) is None


def test_a_patients_unlike_share_is_that_of_all_tissue():
    one, two = slide_profile([4, 1, 2, 100, 0.5, 0.5, 0.1, 0.5, 2]), slide_profile([6, 3, 6, 3, 0.5, 0.1, 0.7, 0.1, 1])
    assert combine([replace(one, unlike_share=0.5), replace(two, unlike_share=0.1)], "p").unlike_share == pytest.approx(
        (4 * 0.5 + 6 * 0.1) / 10
    )
    assert combine([replace(one, unlike_share=0.5), two], "p").unlike_share == 0.5  # the other does not say
    assert combine([one, two], "p").unlike_share is None


def test_a_damaged_map_says_so(tmp_path, make_map):
    write_map(tmp_path, make_map([[1, 1]], ["tumor"]))
    (tmp_path / "cells.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="not a complete semantic map"):
        read_map(tmp_path)


def test_geojson_without_outlines_has_points(tmp_path, make_map):
    write_cells_geojson(make_map([[10, 20], [30, 40]], ["tumor", "lymphocyte"]), tmp_path / "c.geojson")
    found = json.loads((tmp_path / "c.geojson").read_text())
    assert found["type"] == "FeatureCollection"
    assert [f["geometry"] for f in found["features"]] == [
        {"type": "Point", "coordinates": [20.0, 40.0]},
        {"type": "Point", "coordinates": [60.0, 80.0]},
    ]
    assert found["features"][1]["properties"]["classification"]["name"] == "lymphocyte"


def test_no_cells_are_an_empty_collection(tmp_path, make_map):
    write_cells_geojson(make_map(), tmp_path / "c.geojson")
    assert json.loads((tmp_path / "c.geojson").read_text())["features"] == []


def slide_profile(
    values, names=("area_tissue", "area_ce", "area_ta", "itil", "purity", "is", "ies", "iip_frac", "ip_class"), **kw
):
    return SemanticProfile(id="s", names=names, values=np.array(values, float), valid={"B": True, **kw}, source="t")


def test_slides_are_weighted_by_the_area_a_feature_refers_to(values):
    nan = float("nan")
    one = slide_profile([4, 1, 2, 100, 0.5, 0.5, 0.1, 0.5, 2], D=False)
    two = slide_profile([6, 3, 6, 300, nan, 0.1, 0.7, 0.1, 1], D=True)
    v = values(combine([one, two], "p"))
    assert (v["area_tissue"], v["area_ce"], v["area_ta"]) == (10, 4, 8)
    assert v["itil"] == pytest.approx((100 * 1 + 300 * 3) / 4)  # as if the cells had been pooled
    assert v["purity"] == 0.5
    assert v["is"] == pytest.approx(0.2) and v["ies"] == pytest.approx(0.55)
    assert v["ip_class"] == 1  # called from the shares, not averaged
    assert combine([one, two], "p").valid == {"B": True, "D": True}


def test_one_slide_and_the_order_of_slides_do_not_matter():
    one = slide_profile([4, 1, 2, 100, 0.5, 0.5, 0.1, 0.5, 2])
    np.testing.assert_array_equal(combine([one], "p").values, one.values)
    two = slide_profile([6, 3, 6, 300, 0.1, 0.1, 0.7, 0.1, 1])
    np.testing.assert_allclose(combine([one, two], "p").values, combine([two, one], "p").values)


def test_foreign_features_are_averaged_and_unequal_tables_refused(values):
    one, two = (slide_profile([v, 1], ("HIF1", "HIF2")) for v in (1, 3))
    assert values(combine([one, two], "p")) == {"HIF1": 2, "HIF2": 1}
    with pytest.raises(ConfigError):
        combine([one, slide_profile([1], ("HIF1",))], "p")
    with pytest.raises(ConfigError):
        combine([], "p")


def test_pooling_two_halves_of_a_slide_gives_the_whole(make_map, nest, values):
    """Areas, densities: a slide cut in two and combined as a patient's slides is the slide."""
    xy, classes, regions = nest
    whole = values(profile(make_map(xy, classes, regions=regions)))
    halves = []
    for keep in (slice(0, 200), slice(200, 500)):
        analysed = np.zeros((500, 500), bool)
        analysed[:, keep] = True
        halves.append(profile(make_map(xy, classes, regions=regions, analysed=analysed)))
    pooled = values(combine(halves, "p"))
    for name in ("area_ce", "area_ta", "tsr", "itil", "stil", "til_ta", "til_tissue", "tc_ce", "fib_cs", "cell_ta"):
        assert pooled[name] == pytest.approx(whole[name], rel=1e-6), name


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Run the profiler `cells` over a synthetic slide as the pipeline does; the grid starts `offset` px before it."""
    torch = pytest.importorskip("torch")
    tifffile = pytest.importorskip("tifffile")
    import kras_profiler_cells as plugin
    from kras_plugins.testing.slides import draw_slide

    record = next(iter(plugin.kras_profilers()))
    model = record.models(record.options())[0]
    module = model.build(Path(model.weights.source))

    def infer(inputs):
        with torch.inference_mode():
            outputs = module(torch.from_numpy(inputs["tiles"]))
        return {spec.name: values.numpy() for spec, values in zip(model.outputs, outputs, strict=True)}

    profiler = record.create(record.options(), {"cells": infer})
    spec: TileSpec = record.tile(record.options())

    def run(offset=0, **kw):
        folder = tmp_path_factory.mktemp("slide")
        truth = draw_slide(folder / "s.tif", **kw)
        with tifffile.TiffFile(folder / "s.tif") as f:
            pixels = f.pages[0].asarray()
        height, width = pixels.shape[:2]
        corners = [(x, y) for y in range(-offset, height, spec.px) for x in range(-offset, width, spec.px)]
        grid = TileGrid(
            spec=spec, xy=np.int32(corners), size=(spec.px, spec.px), tissue=np.ones(len(corners), np.float32)
        )
        margin = spec.px + 2 * spec.halo_px
        glass = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)
        raster, mpp = raster_over(width * 0.5, height * 0.5), (0.5, 0.5)
        canvas, seams, tile_of = TissueCanvas(raster), Seams(), []
        with CellWriter(folder / "cells.parquet") as writer:
            for i, (x, y) in enumerate(corners):
                top, left = y - spec.halo_px + margin, x - spec.halo_px + margin
                tile = np.ascontiguousarray(glass[top : top + margin, left : left + margin])
                outputs = {k: v[0] for k, v in profiler.predict(tile[None]).items()}
                where = placement(grid, i, mpp)
                batch, patch = decode_tile(profiler.decode, outputs, Tile(pixels=tile, mpp=0.5), where, raster)
                before = writer.n
                writer.write(batch, without=seams.again(rim_of(batch, where)))
                tile_of += [i] * (writer.n - before)
                canvas.paste(patch)
        finish_map(
            folder,
            slide_id="s",
            canvas=canvas,
            tissue_mask=truth.tissue > 0,
            size_um=(width * 0.5, height * 0.5),
            grid=grid,
            mpp=mpp,
            provides=record.provides(record.options()),
            source="cells",
        )
        np.save(folder / "tile_of.npy", tile_of)
        return read_map(folder), truth, folder

    return run


def test_shifting_the_grid_counts_each_nucleus_once(mapped):
    """Cells are found by their position: with another grid the same ones come back, save a few near the seams."""
    from scipy.spatial import cKDTree

    found = [mapped(offset, seed=11, size_um=(500, 500)) for offset in (0, 208, 336)]  # whole strides of the network
    points = [np.stack([m.cells["x_um"], m.cells["y_um"]], 1) for m, _, _ in found]
    for other in points[1:]:
        # A network sees each place in another context; what a seam counted twice or lost would show below.
        assert abs(len(other) - len(points[0])) <= 0.03 * len(points[0])
        assert np.mean(cKDTree(other).query(points[0])[0] < 3) > 0.95
    for own, (_, _, folder) in zip(points, found, strict=True):
        tile_of = np.load(folder / "tile_of.npy")
        one, other = cKDTree(own).query_pairs(2.99, output_type="ndarray").T
        assert len(set(tile_of)) >= 4 and (tile_of[one] == tile_of[other]).all()  # none twice


def test_epithelium_and_lymphocyte_density_follow_the_drawing(mapped, values):
    densities = []
    for lymphocytes in (0.5, 1.0, 2.0):
        found, truth, _ = mapped(seed=2, size_um=(700, 700), histology="LUSC", lymphocytes=lymphocytes)
        assert found.ce_source == "density" and {"cancer_epithelium", "tumor"} <= found.provides
        v = values(profile(found))
        drawn = np.count_nonzero(truth.tissue == 1) * 16e-6
        assert v["area_ce"] == pytest.approx(drawn, rel=0.25)
        overlap = np.count_nonzero((found.tissue == 1) & (truth.tissue == 1)) * 2
        assert overlap / (np.count_nonzero(found.tissue == 1) + np.count_nonzero(truth.tissue == 1)) > 0.85
        densities.append((v["til_ta"], truth.classes.count("lymphocyte") / v["area_ta"]))
        assert np.isnan(v["mac_cs"]) and v["fib_cs"] > 0
    found, drawn = np.array(densities).T
    assert np.all(np.diff(found) > 0)
    np.testing.assert_allclose(found, drawn, rtol=0.2)


def test_the_same_slide_gives_the_same_bytes_and_geojson_polygons(mapped, tmp_path):
    (found, _, one), (_, _, two) = (mapped(seed=4, size_um=(300, 300)) for _ in range(2))
    for name in ("cells.parquet", "tissue.h5", "facts.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert found.outlines == one / "cells.parquet"
    write_cells_geojson(found, tmp_path / "c.geojson")
    features = json.loads((tmp_path / "c.geojson").read_text())["features"]
    assert len(features) == found.cells.num_rows > 20
    for feature, x, y in zip(features, found.cells["x_px"].to_pylist(), found.cells["y_px"].to_pylist(), strict=True):
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert (ring[0] == ring[-1]).all() and len(ring) == 33
        low, high = ring.min(0), ring.max(0)
        assert low[0] <= x <= high[0] and low[1] <= y <= high[1]
    write_map(tmp_path, found)
    again = read_map(tmp_path)
    assert again.cells.equals(found.cells) and isinstance(again.cells, pa.Table) and again.outlines is not None
