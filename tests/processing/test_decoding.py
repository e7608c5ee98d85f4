"""Cells of tiles to cells of a slide."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kras_plugins.contracts.profiler import Tile, TileCells
from kras_plugins.data import CELL_COLUMNS, TileGrid, TileSpec
from kras_plugins.errors import PluginError, StoreError
from kras_plugins.processing.decoding import cut_patch, decode_lent, decode_tile, place, received
from kras_plugins.processing.handover import Lent
from kras_plugins.processing.placement import Placements, placement
from kras_plugins.processing.seams import Seams, rim_of
from kras_plugins.semantics import wkb
from kras_plugins.semantics.cells import FILE_SCHEMA, CellWriter, cell_batch
from kras_plugins.semantics.map import TissueCanvas
from kras_plugins.semantics.raster import Raster, covered, raster_over, resample_mask

SPEC = TileSpec(px=64, mpp=0.5, halo_px=8)


def grid_over(width, height, scale, spec=SPEC, offset=0.0):
    """A grid as the host cuts it: corners of tiles of unrounded size, rounded."""
    side = spec.px * scale
    x, y = np.meshgrid(np.arange(offset, width, side), np.arange(offset, height, side))
    xy = np.rint(np.stack([x.ravel(), y.ravel()], 1)).astype(np.int32)
    return TileGrid(spec=spec, xy=xy, size=(side, side), tissue=np.ones(len(xy), np.float32))


def tile_cells(xy, **kw):
    xy = np.asarray(xy, np.float32).reshape(-1, 2)
    return TileCells(x=xy[:, 0], y=xy[:, 1], classes=["tumor"] * len(xy), **kw)


def kept(seams, batch, where):
    """The cells of a tile without those that the seams tell to leave out."""
    return batch.take(np.delete(np.arange(batch.num_rows), seams.again(rim_of(batch, where))))


def seen_by_all(points, grid, jitter=None, mpp=0.25):
    """Which points come back, and where, when every tile whose halo reaches one reports it.

    `jitter`: how far off (in level-0 pixels) a tile sees a point, float[tile point 2].
    """
    seams, found, names = Seams(), [], []
    for i in range(len(grid)):
        where = placement(grid, i, (mpp, mpp))
        at = (points + (0 if jitter is None else jitter[i]) - where.corner) / where.scale - 0.5
        seen = np.all((at >= -0.5) & (at < SPEC.px + 2 * SPEC.halo_px - 0.5), axis=1)
        cells = tile_cells(at[seen], columns={"prob": np.flatnonzero(seen)})
        batch = kept(seams, place(cells, where), where)
        found.append(np.stack([batch["x_px"], batch["y_px"]], 1))
        names += batch["prob"].to_pylist()
    return np.concatenate(found), names


def points_near_seams(rng, grid, n, apart):
    """Up to `n` points, half of them within 3 µm of a seam of a grid of mpp 0.5, no two nearer than `apart` µm."""
    low, high = grid.xy.min(0) + 1, grid.xy.max(0) + grid.size - 1
    points = rng.uniform(low, high, (n, 2))
    for axis in (0, 1):
        some = rng.random(n) < 0.3
        seams = np.unique(grid.xy[:, axis])[1:]
        points[some, axis] = rng.choice(seams, some.sum()) + rng.uniform(-6, 6, some.sum())
    kept = []
    for i, point in enumerate(points):
        if not kept or np.hypot(*(points[kept] - point).T).min() * 0.5 >= apart:
            kept.append(i)
    return points[kept]


@settings(deadline=None, max_examples=15)
@given(st.floats(1.0, 4.3), st.integers(0, 2**32 - 1))
def test_every_nucleus_is_counted_once_at_any_scale(scale, seed):
    """Corners are rounded where the scale is no whole number; still no strip is seen twice or not at all."""
    rng = np.random.default_rng(seed)
    grid = grid_over(400, 300, scale)
    points = rng.uniform(1, (400, 300), (300, 2))
    seam = np.rint(np.arange(1, 7) * SPEC.px * scale)
    points[:120, 0] = rng.choice(seam, 120) + rng.choice([-0.9, -0.4, -0.02, 0.02, 0.4, 0.9], 120)
    points = points[points[:, 0] < 400]
    near = np.sort(np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)), axis=1)[:, 1]
    points = points[near > 20]  # 5 µm: nearer ones might be one
    found, names = seen_by_all(points, grid)
    assert sorted(names) == list(range(len(points)))
    np.testing.assert_allclose(found[np.argsort(names)], points, atol=0.01)


@settings(deadline=None, max_examples=30)
@given(st.floats(1.0, 3.1), st.integers(0, 2**32 - 1))
def test_a_nucleus_that_tiles_see_at_different_places_is_counted_once(scale, seed):
    """Up to 0.9 µm off in each tile, so up to 1.8 µm between two; nuclei 5 µm apart are two."""
    rng = np.random.default_rng(seed)
    grid = grid_over(500, 400, scale)
    points = points_near_seams(rng, grid, 400, apart=5.0)
    angle, far = rng.uniform(0, 2 * np.pi, (2, len(grid), len(points)))
    jitter = np.sqrt(far / (2 * np.pi)) * 1.8 * np.array([np.cos(angle), np.sin(angle)])
    found, names = seen_by_all(points, grid, np.moveaxis(jitter, 0, -1), mpp=0.5)
    twice = [name for name in names if names.count(name) > 1]
    lost = set(range(len(points))) - set(names)
    # Off the outer rim of the grid nobody sees what is jittered away from it.
    inside = np.all((points > 2) & (points < grid.xy.max(0) + grid.size - 2), axis=1)
    assert not twice and not [i for i in lost if inside[i]]
    assert np.abs(found - points[np.int64(names)]).max() <= 1.81


def test_two_nuclei_of_one_tile_are_never_taken_for_one():
    """Only what two tiles report is compared: the network may well tell two touching nuclei apart."""
    grid = grid_over(128, 64, 1.0)
    seams, where = Seams(), placement(grid, 0, (0.5, 0.5))
    batch = place(tile_cells([[70, 20], [71, 20], [40, 20], [41, 20]]), where)
    assert kept(seams, batch, where).num_rows == 4


def test_the_first_of_two_tiles_counts_and_the_outlines_follow():
    grid = grid_over(128, 64, 1.0)
    seams, batches = Seams(), []
    for index, x in ((0, 71.0), (1, 8.5)):  # 63.5 + 0.5 from the left, 64.5 + 0.5 from the right: the seam is at 64
        where = placement(grid, index, (0.5, 0.5))
        ring = np.array([[x - 1, 19], [x + 1, 19], [x, 22]])
        far = np.array([[39, 39], [41, 39], [40, 42]])
        cells = tile_cells([[x, 20], [40, 40]], outlines=[ring, far])
        batches.append(kept(seams, place(cells, where), where))
    assert [b.num_rows for b in batches] == [2, 1]
    assert wkb.decode(batches[1]["geometry"][0].as_py())[:, 0].mean() == pytest.approx(96.5)


def test_cells_beyond_the_core_are_taken_only_where_a_tile_adjoins():
    grid = grid_over(128, 64, 1.0)  # two tiles, side by side
    where = placement(grid, 0, (0.5, 0.5))
    assert (where.take_low, where.take_high) == ((0, 0), (68, 64))
    assert placement(grid, 1, (0.5, 0.5)).take_low == (60, 0)
    assert place(tile_cells([[6, 20], [74, 20], [77, 20], [20, 74]]), where)["x_px"].to_pylist() == [66.5]


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_nucleus_right_on_a_seam_is_counted_once(scale):
    grid = grid_over(400, 300, scale)
    side = SPEC.px * scale
    points = np.array([[x, y] for x in (side, 2 * side, 100.0) for y in (side, 2 * side, 70.0)])
    points = points[[0, 1, 3, 4, 8]] if scale == 1 else points  # 70 is 1.5 µm from 64
    assert len(seen_by_all(points, grid)[0]) == len(points)


def test_positions_are_in_level_0_pixels_and_micrometers():
    grid = grid_over(1000, 1000, 2.0)
    where = placement(grid, 1, (0.25, 0.5))
    batch = place(tile_cells([[8, 8]], columns={"area_um2": np.float32([30])}), where)
    # the first pixel of the core covers level-0 pixels 128 and 129
    assert (batch["x_px"][0].as_py(), batch["y_px"][0].as_py()) == (129.0, 1.0)
    assert (batch["x_um"][0].as_py(), batch["y_um"][0].as_py()) == (32.25, 0.5)
    assert batch["area_um2"][0].as_py() == 30
    assert batch["solidity"][0].as_py() is None and batch["geometry"][0].as_py() is None


def test_nan_becomes_null():
    batch = place(
        tile_cells([[20, 20]], columns={"solidity": np.float32([np.nan])}), placement(grid_over(64, 64, 1), 0, (1, 1))
    )
    assert batch["solidity"].null_count == 1


@pytest.mark.parametrize("n", [0, 1, 50])
def test_columns_become_float32_and_only_nan_and_what_is_not_given_null(n):
    rng = np.random.default_rng(0)
    partly = np.where(rng.random(n) < 0.5, np.nan, rng.random(n))
    values = {"x_px": rng.random(n) * 1e6, "prob": rng.random(2 * n).astype(np.float32)[::2], "area_um2": range(n)}
    values |= {"solidity": partly, "h_od_mean": np.full(n, np.nan), "h_od_sd": np.full(n, np.inf)}
    batch = cell_batch(["tumor"] * n, values, None)
    batch.validate(full=True)
    for name in set(FILE_SCHEMA.names) - {"class"}:
        expected = pa.array(np.asarray(values[name], np.float32), from_pandas=True) if name in values else pa.nulls(n)
        assert batch[name].equals(expected.cast(FILE_SCHEMA.field(name).type)), name
    with pytest.raises(ValueError):
        cell_batch(["tumor"] * (n + 1), values, None)


@pytest.mark.parametrize("kind", [list, np.array], ids=["one by one", "one array"])
def test_outlines_follow_their_cells(kind):
    square = np.array([[19, 19], [21, 19], [21, 21], [19, 21]])
    cells = tile_cells([[3, 3], [20, 20]], outlines=kind([square - 17, square]))
    batch = place(cells, placement(grid_over(64, 64, 2.0), 0, (1, 1)))
    assert batch.num_rows == 1  # the first lies in the halo
    np.testing.assert_array_equal(wkb.decode(batch["geometry"][0].as_py()), (square - 8 + 0.5) * 2.0)


@pytest.mark.parametrize(
    "change",
    [{"classes": ["blob"]}, {"classes": []}, {"columns": {"mood": np.zeros(1)}}, {"columns": {"prob": np.zeros(2)}}],
)
def test_a_decoder_that_breaks_its_contract_is_told_so(change):
    kw = {"x": np.float32([20]), "y": np.float32([20]), "classes": ["tumor"], **change}
    with pytest.raises(PluginError):
        place(TileCells(**kw), placement(grid_over(64, 64, 1), 0, (1, 1)))


def test_tissue_of_tiles_fits_together_without_seams():
    """A known picture, cut into tiles with halos at a scale that is no whole number, comes back on the raster."""
    scale, mpp0 = 1.7, 0.3
    grid, raster = grid_over(600, 500, scale), raster_over(600 * mpp0, 500 * mpp0)
    canvas = np.full(raster.shape, 255, np.uint8)

    def truth(x, y):
        return ((x // 20 + y // 30) % 5).astype(np.uint8)

    for i in range(len(grid)):
        where = placement(grid, i, (mpp0, mpp0))
        pixel = np.arange(SPEC.px + 2 * SPEC.halo_px) + 0.5
        x, y = (c + pixel * s for c, s in zip(where.corner, where.scale, strict=True))
        patch = cut_patch(truth(*np.meshgrid(x * mpp0, y * mpp0)), where, raster)
        h, w = patch.tissue.shape
        assert (canvas[patch.row : patch.row + h, patch.column : patch.column + w] == 255).all()
        canvas[patch.row : patch.row + h, patch.column : patch.column + w] = patch.tissue
    assert (canvas != 255).all()
    expected = truth(*np.meshgrid(*raster.centers()))
    assert (canvas == expected).mean() > 0.95


def test_where_tissue_is_unlike_fits_together_on_pixels_larger_than_the_tiles():
    """Squares of 16 pixels that tiles say are unlike training come back on the slide's raster, each where it lies."""
    side, step = SPEC.px + 2 * SPEC.halo_px, 16
    grid, raster = grid_over(256, 192, 1.0), raster_over(128, 96)
    canvas, tile = TissueCanvas(raster), Tile(pixels=np.zeros((side, side, 3), np.uint8), mpp=0.5)

    def truth(x, y):  # multiples of the halo, so that no square is cut by a tile's edge
        return ((x + 8) // 16 + (y + 8) // 16) % 2 == 1

    for i in range(len(grid)):
        where = placement(grid, i, (0.5, 0.5))
        x, y = np.meshgrid(*(c + np.arange(0, side, step) for c in where.corner))

        def decode(outputs, _tile):
            return tile_cells([[20, 20]], unlike=outputs["unlike"])

        canvas.paste(decode_tile(decode, {"unlike": truth(x, y)}, tile, where, raster)[1])
    x, y = np.meshgrid(*raster.centers())
    np.testing.assert_array_equal(canvas.unlike, truth(x * 2, y * 2))
    assert canvas.drawn is None


def test_decode_tile_refuses_what_is_unlike_of_another_size():
    def decode(_outputs, _tile):
        return tile_cells([[20, 20]], unlike=np.zeros((7, 7), bool))

    tile = Tile(pixels=np.zeros((80, 80, 3), np.uint8), mpp=0.5)
    with pytest.raises(PluginError, match="whole tile"):
        decode_tile(decode, {}, tile, placement(grid_over(64, 64, 1), 0, (1, 1)), raster_over(64, 64))


def test_decode_tile_refuses_tissue_of_another_size():
    def decode(_outputs, _tile):
        return tile_cells([[20, 20]], tissue=np.zeros((10, 10), np.uint8))

    tile = Tile(pixels=np.zeros((80, 80, 3), np.uint8), mpp=0.5)
    with pytest.raises(PluginError, match="whole tile"):
        decode_tile(decode, {}, tile, placement(grid_over(64, 64, 1), 0, (1, 1)), raster_over(64, 64))


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_a_decoder_that_leaves_out_what_is_not_wanted_changes_nothing(scale):
    """Points as dense as a quarter of a pixel; tiles with a neighbor on each side, and on none."""
    pixels = np.zeros((80, 80, 3), np.uint8)
    points = np.stack(np.meshgrid(np.arange(-0.5, 79.5, 0.25), np.arange(-0.5, 79.5, 0.25)), -1).reshape(-1, 2)
    left_out = []

    def decode(_outputs, tile):
        kept = np.ones(len(points), bool)
        if tile.wanted is not None:
            kept = np.all((points >= tile.wanted[0]) & (points <= tile.wanted[1]), axis=1)
        left_out.append(1 - kept.mean())
        return tile_cells(points[kept])

    grid = grid_over(3 * 64 * scale, 3 * 64 * scale, scale)
    for index in (0, 4):
        where, raster = placement(grid, index, (0.5 / scale, 0.5 / scale)), raster_over(100, 100)
        lent = Lent(file="", layout=(), sent=(pixels[None],))
        ((cells, _, _),) = decode_lent(decode, (), lent, 0.5, [where], raster)
        found = received(cells)
        expected, _ = decode_tile(decode, {}, Tile(pixels=pixels, mpp=0.5), where, raster)
        assert found.equals(expected) and found.num_rows > 4000
        assert left_out == [pytest.approx(0.2, abs=0.1), 0]
        left_out.clear()


def test_cells_are_written_in_row_groups_and_twice_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    where = placement(grid_over(64, 64, 1), 0, (0.5, 0.5))
    for name in ("a", "b"):
        rng = np.random.default_rng(0)
        with CellWriter(tmp_path / name) as writer:
            for _ in range(40):
                writer.write(place(tile_cells(rng.uniform(8, 71, (4000, 2))), where))
        assert writer.n == 160_000
    file = pq.ParquetFile(tmp_path / "a")
    assert file.metadata.num_row_groups == 8 and file.metadata.num_rows == 160_000
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert file.schema_arrow.names == [*CELL_COLUMNS, "geometry"]
    assert b"geo" in file.schema_arrow.metadata


def test_cells_that_are_left_out_are_not_written_wherever_they_stand(tmp_path):
    rng = np.random.default_rng(0)
    where, expected = placement(grid_over(64, 64, 1), 0, (0.5, 0.5)), []
    with CellWriter(tmp_path / "a") as writer:
        for left_out in ([], [0], range(5000), *(rng.choice(5000, 300) for _ in range(20)), [4999]):
            batch = place(tile_cells(rng.uniform(8, 71, (5000, 2))), where)
            writer.write(batch, without=left_out)
            expected.append(batch.take(np.setdiff1d(np.arange(5000), left_out)))
    found = pq.read_table(tmp_path / "a")
    assert found.equals(pa.Table.from_batches(expected)) and found.num_rows == writer.n
    assert pq.ParquetFile(tmp_path / "a").metadata.num_row_groups == 6


@pytest.mark.parametrize("n", [1, 3])
def test_tiles_decoded_together_are_as_decoded_alone(n):
    """Each from its own pixels and outputs, in its own place."""
    rng, grid, raster = np.random.default_rng(0), grid_over(300, 64, 1.0), raster_over(200, 200)
    pixels = rng.integers(0, 255, (n, 80, 80, 3), np.uint8)
    points = rng.uniform(0, 79, (n, 50, 2)).astype(np.float32)

    def decode(outputs, tile):
        tissue = tile.pixels[..., 0] % 5
        return tile_cells(outputs["points"], columns={"prob": np.full(50, tissue.mean())}, tissue=tissue)

    places = [placement(grid, i, (0.5, 0.5)) for i in range(n)]
    lent = Lent(file="", layout=(), sent=(pixels, points))
    found = decode_lent(decode, ("points",), lent, 0.5, places, raster)
    assert len(found) == n
    for i, (cells, rim, patch) in enumerate(found):
        tile = Tile(pixels=pixels[i], mpp=0.5)
        expected, drawn = decode_tile(decode, {"points": points[i]}, tile, places[i], raster)
        assert received(cells).equals(expected) and rim.tile == (i, 0)
        np.testing.assert_array_equal(rim.rows, rim_of(expected, places[i]).rows)
        np.testing.assert_array_equal(patch.tissue, drawn.tissue)


def test_no_cells_at_all_make_a_readable_file(tmp_path):
    with CellWriter(tmp_path / "a"):
        pass
    assert pq.read_table(tmp_path / "a").schema.equals(FILE_SCHEMA)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=3, max_size=40))
def test_wkb_round_trip(points):
    (blob,) = wkb.encode([np.array(points)])
    np.testing.assert_array_equal(wkb.decode(blob), points)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_polygons_alike_are_written_as_others_are(n):
    polygons = np.random.default_rng(0).random((n, 5, 2))
    assert wkb.encode_alike(polygons).to_pylist() == wkb.encode(polygons)


def test_what_is_no_polygon_is_refused():
    for blob in (b"", b"\x01\x01\x00\x00\x00" + bytes(16), b"\x00" + bytes(40), wkb.encode([np.zeros((4, 2))])[0][:-8]):
        with pytest.raises(StoreError):
            wkb.decode(blob)


def test_the_raster_is_as_fine_on_large_slides():
    assert raster_over(1000, 500) == Raster(shape=(125, 250), mpp=4.0)
    assert raster_over(30_000, 20_000) == Raster(shape=(5000, 7500), mpp=4.0)


def test_a_mask_lands_where_it_lay():
    mask = np.zeros((50, 100), bool)
    mask[10:20, 30:60] = True
    moved = resample_mask(mask, (800.0, 400.0), raster_over(800.0, 400.0))
    expected = np.zeros((100, 200), bool)
    expected[20:40, 60:120] = True
    np.testing.assert_array_equal(moved, expected)


def test_what_the_tiles_cover_has_their_area():
    grid = grid_over(640, 640, 2.0)
    part = TileGrid(spec=grid.spec, xy=grid.xy[[0, 1, 7]], size=grid.size, tissue=grid.tissue[:3])
    raster = raster_over(320, 320)
    assert covered(part, (0.5, 0.5), raster).sum() * raster.pixel_mm2 == pytest.approx(3 * 0.064**2)


def discs(points, radius, frame, where):
    """Cells of a tile on which discs are drawn whose centers may lie beyond the edge of a field: of those that the edge
    cuts, outline and center are of the part that is seen."""
    points = points[np.all((points > -radius) & (points < np.array(frame) + radius), axis=1)]
    angle = np.arange(32) * (2 * np.pi / 32)
    rings = points[:, None] + (radius - 0.5) * np.stack([np.cos(angle), np.sin(angle)], 1)
    rings = np.clip(rings, 0.5, np.array(frame) - 0.5)  # outlines run through the centers of pixels
    in_tile = (rings - where.corner) / where.scale - 0.5
    xy = in_tile.mean(axis=1)
    return tile_cells(xy, outlines=in_tile.astype(np.float32))


def test_of_cells_that_the_edge_of_a_field_cuts_as_many_count_as_have_their_center_in_it():
    """Cells on a large piece of tissue, seen through many fields: naively each would count a strip too much."""
    rng = np.random.default_rng(0)
    side, radius, counted, naive, true = 128, 9.0, 0, 0, 0
    for _ in range(300):
        points = rng.uniform(-40, side + 40, (120, 2))
        grid = grid_over(side, side, 1.0, TileSpec(px=256, mpp=0.5, halo_px=8))
        slide, field = (Placements(grid, (0.5, 0.5), frame)[0] for frame in (None, (side, side)))
        cells = discs(points, radius, (side, side), field)
        naive += place(cells, slide).num_rows
        batch = place(cells, field)
        counted += batch.num_rows
        true += int(np.all((points >= 0) & (points < side), axis=1).sum())
        assert all(0 <= v < side * 0.5 for name in ("x_um", "y_um") for v in batch[name].to_pylist())
    assert naive > 1.15 * true
    assert abs(counted / true - 1) < 3 / np.sqrt(true)


def test_where_a_profiler_gives_no_outlines_the_center_decides_at_the_edge_of_a_field():
    grid = grid_over(128, 128, 1.0, TileSpec(px=256, mpp=0.5, halo_px=8))
    where = Placements(grid, (0.5, 0.5), (128, 128))[0]
    cells = tile_cells([[7.0, 50.0], [8.0, 50.0], [134.9, 135.0], [136.0, 50.0]])  # the halo has 8 pixels
    assert place(cells, where)["x_px"].to_pylist() == pytest.approx([0.5, 127.4])


def test_on_a_slide_cells_at_its_edge_count_as_before():
    grid = grid_over(128, 128, 1.0, TileSpec(px=128, mpp=0.5, halo_px=8))
    where = placement(grid, 0, (0.5, 0.5))
    assert where.frame is None
    assert place(discs(np.array([[128.0, 60.0], [60.0, 60.0]]), 9.0, (128, 128), where), where).num_rows == 2
