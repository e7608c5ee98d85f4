"""What the viewer's addresses answer: tiles in their place, layers over them, pieces and views as pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from marked_slides import MARKS, SIDE, Squares, centers, due, marked, mosaic
from PIL import Image
from shown_slides import PORT, TOKEN, browser, listed, shown_of
from starlette.testclient import TestClient

from kras_plugins.report.study import report_script
from kras_plugins.viewer.app import create_app
from kras_plugins.viewer.geometry import Box, Pyramid
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.picture import fitted, length, scale_bar


@dataclass(frozen=True)
class Flat:
    """A layer with one color per key: the left half of each box is `a`, the right half `b`."""

    id: str = "flat"
    label: str = "<b>Flat</b>"
    note: str = "a note"
    unit: str = "mm²"
    legend: tuple[Entry, ...] = (Entry("a", "A", "#ff0000", 3), Entry("b", "B", "#00ff00"))

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> np.ndarray:
        drawn = np.zeros((size[1], size[0], 4), np.uint8)
        half = size[0] // 2
        if keys is None or "a" in keys:
            drawn[:, :half] = (255, 0, 0, 255)
        if keys is None or "b" in keys:
            drawn[:, half:] = (0, 255, 0, 255)
        return drawn

    def geojson(self) -> Iterator[bytes]:
        yield b'{"type":"FeatureCollection",'
        yield b'"features":[]}'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("slides")
    slides = [
        listed("even", marked(folder / "even.tif", (0.2525, 0.2525)), layers=[Squares(), Flat()]),
        listed("oblong", marked(folder / "oblong.tif", (0.25, 0.5)), layers=[Squares()]),
    ]
    with create_app(replace(shown_of(*slides), report=_report(folder)), TOKEN, PORT) as app:
        yield browser(app)


def _report(folder: Path) -> Path:
    (folder / "report.html").write_text("<p>a report</p>")
    return folder / "report.html"


def picture(client: TestClient, path: str, **query: object) -> np.ndarray:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize("name", ["even", "oblong"])
def test_tiles_and_the_layer_over_them_lie_where_the_facts_say(client: TestClient, name: str) -> None:
    facts = client.get(f"/slides/{name}/facts").json()
    display = facts["display"]
    pyramid = Pyramid((facts["width"], facts["height"]), tuple(facts["mpp"]))
    assert (pyramid.display, pyramid.top) == ((display["width"], display["height"]), display["levels"] - 1)
    assert display["scale"] == pytest.approx([1, 1] if name == "even" else [1, 2], rel=1e-3)
    for level in (display["levels"] - 1, display["levels"] - 3):
        across, down = pyramid.tiles(level)
        for path, darkness in (
            ("pixels/{}/{}_{}.jpg", lambda tile: 255.0 - tile[..., 0]),
            ("layers/squares/{}/{}_{}.png", lambda tile: tile[..., 3]),
        ):
            rows = [
                [darkness(picture(client, f"/slides/{name}/" + path.format(level, col, row))) for col in range(across)]
                for row in range(down)
            ]
            whole = np.concatenate([np.concatenate(row, 1) for row in rows])
            assert whole.shape == pyramid.level_size(level)[::-1]
            whole[whole < 16] = 0  # JPEG's ripples
            assert centers(whole, pyramid, level) == pytest.approx(due(pyramid, level), abs=0.4)


def test_facts_say_what_there_is(client: TestClient) -> None:
    facts = client.get("/slides/even/facts").json()
    assert facts["mpp"] == pytest.approx([0.2525, 0.2525], rel=1e-3)
    assert facts["objective"] is None
    assert facts["layers"][1] == {
        "id": "flat", "label": "<b>Flat</b>", "note": "a note", "unit": "mm²", "geojson": True,
        "legend": [
            {"key": "a", "label": "A", "color": "#ff0000", "count": 3},
            {"key": "b", "label": "B", "color": "#00ff00", "count": None},
        ],
    }  # fmt: skip
    assert facts["layers"][0]["geojson"] is False
    assert client.get("/slides/even/at?x=1&y=1").json() == {
        "tile": None,
        "cell": None,
        "tissue": None,
        "left_out": None,
    }


def test_a_layer_shows_the_chosen_entries_of_its_legend_and_forgets_no_choice(client: TestClient) -> None:
    path = "/slides/even/layers/flat/9/0_0.png"
    for _ in range(2):  # the second time from the cache
        shown = {
            keys: picture(client, path, **({} if keys is None else {"keys": keys})) for keys in (None, "a", "b", "")
        }
        assert {keys: tile[..., 3].mean() > 0 for keys, tile in shown.items()} == {None: 1, "a": 1, "b": 1, "": 0}
        assert shown["a"][0, 0].tolist() == [255, 0, 0, 255]
        assert shown["a"][0, -1, 3] == 0
        assert shown["b"][0, 0, 3] == 0


def test_a_layer_comes_as_a_file_that_is_named(client: TestClient) -> None:
    answer = client.get("/slides/even/layers/flat.geojson")
    assert json.loads(answer.content)["features"] == []
    assert answer.headers["content-disposition"] == 'attachment; filename="even.flat.geojson"'
    assert client.get("/slides/even/layers/squares.geojson").status_code == 404


def test_a_piece_has_square_pixels_and_its_place(client: TestClient) -> None:
    x, y = MARKS[4]
    crop = picture(client, "/slides/oblong/crop.jpg", x=x - 20, y=y - 20, w=80, h=80, px=320)
    assert crop.shape == (320, 160, 3)  # a pixel of this slide is twice as high as wide
    ys, xs = np.nonzero(crop[..., 0] < 128)
    assert (xs.min(), xs.max() + 1, ys.min(), ys.max() + 1) == pytest.approx((40, 120, 80, 240), abs=2)


def test_a_view_is_the_slide_with_its_layers_a_scale_bar_and_their_legends_and_no_metadata(client: TestClient) -> None:
    bare = client.get("/slides/even/view.png", params={"x": 0, "y": 0, "w": 2000, "h": 1500, "px": 1000})
    assert bare.headers["content-disposition"] == 'attachment; filename="even.view.png"'
    with Image.open(io.BytesIO(bare.content)) as image:
        assert image.info == {}
        assert image.size == (1000, 750)
    view = {"x": 0, "y": 0, "w": 2000, "h": 1500, "px": 1000, "layers": "flat:0.5,squares:1"}
    pixels = picture(client, "/slides/even/view.png", **view)
    assert pixels.shape[0] > 750  # legends stand below, not on the tissue
    assert pixels[500, 40].tolist() == pytest.approx([255, 127, 127], abs=2)  # half red on white
    assert pixels[500, 960].tolist() == pytest.approx([127, 255, 127], abs=2)
    x, y = ((MARKS[4] + SIDE / 2) / 2).astype(int)
    assert pixels[y, x].tolist() == [0, 0, 0]
    below = {tuple(p) for p in pixels[750:].reshape(-1, 3).tolist()}
    assert {(255, 0, 0), (0, 255, 0)} <= below


@pytest.mark.parametrize("um", [3.0, 49.0, 800.0, 1600.0, 5e4])
def test_a_scale_bar_is_round_and_at_most_a_quarter_of_the_view(um: float) -> None:
    bar = scale_bar(um)
    assert um / 10 <= bar <= um / 4 * 1.0001
    assert f"{bar:e}"[0] in "125" and f"{bar:.3e}"[1:5] == ".000"


def test_a_scale_bar_is_as_long_as_it_says(client: TestClient) -> None:
    pixels = picture(client, "/slides/even/view.png", x=700, y=100, w=400, h=400, px=800).astype(int)
    low = pixels[-40:, :, :].sum(2) == 31 + 41 + 51
    row = low[low.sum(1).argmax()]
    assert row.sum() * 0.5 * 0.2525 == pytest.approx(scale_bar(400 * 0.2525), abs=0.2)
    assert length(20.0) == "20 µm" and length(2000.0) == "2 mm"


def test_what_fits_is_never_empty() -> None:
    assert fitted(Box(0, 0, 1000, 1), (1, 1), 64) == (64, 1)
    assert fitted(Box(0, 0, 100, 100), (1, 2), 64) == (32, 64)


def test_of_a_report_only_the_script_of_reports_may_run(client: TestClient) -> None:
    answer = client.get("/report")
    assert answer.text == "<p>a report</p>"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["script-src"] == f"'sha256-{report_script()[1]}'"
    assert policy["default-src"] == "'none'"


def test_several_slides_have_an_index_with_a_link_each(client: TestClient) -> None:
    index = client.get("/").text
    assert '"/slides/even"' in index
    assert '"/slides/oblong"' in index


def test_a_mosaic_of_a_layer_has_no_seams(tmp_path: Path) -> None:
    pyramid = Pyramid((2207, 1739), (0.5, 0.5))
    level = pyramid.top
    tiles = mosaic(pyramid, level, lambda box, size: Squares().draw(box, size, None))
    whole = Squares().draw(Box(0, 0, *pyramid.size), pyramid.size, None)
    assert np.array_equal(tiles, whole)
