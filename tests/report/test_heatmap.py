"""Heat maps and GeoJSON: the right place, the right color, nothing about the patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from kras_plugins.errors import StoreError
from kras_plugins.report.heatmap import attention_heatmap, write_png, write_tiles_geojson

SCALE = 32.0
SIDE = (448.0, 448.0)


def _grid(columns: int, rows: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return (np.stack([x.ravel(), y.ravel()], axis=1) * 448).astype(np.int32)


def test_the_hottest_color_lies_on_the_planted_tile_and_nowhere_else() -> None:
    xy = _grid(20, 12)
    values = np.random.default_rng(0).random(len(xy)).astype(np.float32) * 0.1
    planted = 137
    values[planted] = 5.0
    thumbnail = np.full((180, 300, 3), 200, np.uint8)
    image = attention_heatmap(thumbnail, xy, SIDE, values, scale=SCALE)
    expected = 0.45 * 200 + 0.55 * 255 * np.array(colormaps["cividis"](1.0)[:3])
    hot = (np.abs(np.asarray(image)[:180, :300] - expected) <= 0.5).all(axis=2)
    y, x = np.nonzero(hot)
    left, top = (xy[planted] / SCALE).astype(int)
    assert (x.min(), x.max(), y.min(), y.max()) == (left, left + 13, top, top + 13)
    assert hot.sum() == 14 * 14


def test_colors_depend_on_ranks_alone_and_glass_stays_as_it_is() -> None:
    xy = _grid(4, 4)
    values = np.random.default_rng(1).random(16)
    thumbnail = np.random.default_rng(2).integers(0, 255, (120, 120, 3)).astype(np.uint8)
    image = np.asarray(attention_heatmap(thumbnail, xy, SIDE, values, scale=SCALE))
    skewed = np.asarray(attention_heatmap(thumbnail, xy, SIDE, np.exp(30 * values), scale=SCALE))
    assert (image == skewed).all()
    assert (image[56:120, 56:120] == thumbnail[56:, 56:]).all()
    assert (image[:56, :56] != thumbnail[:56, :56]).any(axis=2).mean() > 0.95


def test_tiles_without_value_and_tiles_beyond_the_edge_do_no_harm() -> None:
    thumbnail = np.full((50, 60, 3), 250, np.uint8)
    xy = np.array([[-448, -448], [0, 0], [10_000, 10_000]], np.int32)
    image = np.asarray(attention_heatmap(thumbnail, xy, SIDE, np.array([1.0, np.nan, 2.0]), scale=SCALE, mpp=0.5))
    assert (image[:50, :60] == 250).all()
    empty = attention_heatmap(thumbnail, np.zeros((0, 2), np.int32), SIDE, np.zeros(0), scale=SCALE)
    assert (np.asarray(empty)[:50, :60] == 250).all()


def test_tiles_smaller_than_a_pixel_are_still_seen() -> None:
    thumbnail = np.full((20, 20, 3), 250, np.uint8)
    xy = np.array([[1000, 1000]], np.int32)
    image = np.asarray(attention_heatmap(thumbnail, xy, (10, 10), np.array([1.0]), scale=100.0))
    assert (image[:20, :20] != 250).any(axis=2).sum() == 1
    assert (image[10, 10] != 250).any()


@pytest.mark.parametrize(("mpp", "mm"), [(0.25, 2), (0.5, 5)])
def test_the_scale_bar_is_as_long_as_it_says(mpp: float, mm: float) -> None:
    thumbnail = np.full((400, 1000, 3), 255, np.uint8)
    image = attention_heatmap(thumbnail, np.zeros((0, 2), np.int32), SIDE, np.zeros(0), scale=SCALE, mpp=mpp)
    dark = np.asarray(image)[400 + 32, 500:] < 100
    assert dark.all(axis=1).sum() == round(mm * 1000 / mpp / SCALE) + 1


def test_a_png_says_nothing_but_its_pixels(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20), "red")
    image.info["Comment"] = "Doe, Jane"
    exif = image.getexif()
    exif[0x010E] = "Doe, Jane"
    path = write_png(tmp_path / "map.png", image)
    chunks, at, raw = [], 8, path.read_bytes()
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "big")
        chunks.append(raw[at + 4 : at + 8])
        at += 12 + length
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
    assert (np.asarray(Image.open(path)) == np.asarray(image)).all()
    assert write_png(tmp_path / "again.png", image).read_bytes() == raw


def test_an_unwritable_folder_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"map\.png"):
        write_png(tmp_path / "absent" / "map.png", Image.new("RGB", (3, 3)))
    with pytest.raises(StoreError, match="tiles"):
        write_tiles_geojson(tmp_path / "absent" / "tiles.json", _grid(1, 1), SIDE, {"attention": np.ones(1)})


def test_geojson_rectangles_are_exact_level_0_pixels(tmp_path: Path) -> None:
    xy = np.array([[0, 0], [123_457, 98_765]], np.int32)
    values = np.array([0.25, np.nan], np.float32)
    measured = {"attention he": values, "contribution": -values}
    path = write_tiles_geojson(tmp_path / "tiles.geojson", xy, (447.5, 448), measured)
    found = json.loads(path.read_text())
    assert found["type"] == "FeatureCollection"
    first, second = found["features"]
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[0, 0], [447.5, 0], [447.5, 448], [0, 448], [0, 0]]],
    }
    ring = second["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] == [123_457, 98_765]
    assert ring[2] == [123_904.5, 99_213]
    assert first["properties"] == {"objectType": "tile", "measurements": {"attention he": 0.25, "contribution": -0.25}}
    assert second["properties"]["measurements"] == {}
    assert write_tiles_geojson(tmp_path / "b", xy, (447.5, 448), measured).read_bytes() == path.read_bytes()


def test_a_picture_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_png(tmp_path / "a.png", Image.new("RGB", (4, 4), "red"))
    before = file.read_bytes()

    def full(self: Path, _bytes: bytes) -> int:
        with self.open("wb") as f:
            f.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left"):
        write_png(file, Image.new("RGB", (4, 4), "blue"))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
