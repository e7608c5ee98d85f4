"""The viewer as a browser shows it: Chromium without a screen, on a drawn slide with layers."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clean_page import clean_page
from marked_slides import SIDE
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Download, Page, expect, sync_playwright
from services import need
from viewed import ATTACK, TILE, attackers_slide, drawn_slide, marked_slide, served

from kras_plugins.store import safe_name
from kras_plugins.viewer.shown import Listed, Shown

expect.set_options(timeout=60_000)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need(CHROMIUM is not None, "chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where three slides are served; the browser gets in with the token."""
    folder = tmp_path_factory.mktemp("slides")
    drawn = drawn_slide(folder / "drawn.tif")
    slides: list[Listed] = [drawn, attackers_slide(folder / "drawn.tif"), marked_slide(folder / "marked.tif")]
    with served(Shown(title="slides", slides={one.name: one for one in slides})) as begin:
        yield begin


@pytest.fixture(scope="module")
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    """A window that was let in with the token."""
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(address)
    page.wait_for_url(home(address))
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Iterator[Page]:
    """A page that at the end had no errors and made no requests to other hosts."""
    with clean_page(context, home(address), "data:") as page:
        yield page


def home(address: str) -> str:
    return address.partition("?")[0]


def look(page: Page, address: str, name: str, fragment: str = "") -> None:
    """Open a slide and wait until its picture no longer changes."""
    page.goto(f"{home(address)}slides/{name}{fragment}")
    settle(page)


def settle(page: Page) -> None:
    """Wait until every tile that the view needs is drawn, and the address says where it is."""
    expect(page.locator("#magnification")).not_to_be_empty()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    for stage in page.locator(".stage:visible").all():
        expect(stage).to_have_attribute("aria-busy", "false")


def picture(page: Page, stage: str = "#slide") -> np.ndarray:
    """What a picture of the page shows, int[h w 3], without what lies over it."""
    settle(page)
    uri = page.locator(f"{stage} > * > .openseadragon-canvas > canvas").evaluate("(canvas) => canvas.toDataURL()")
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown))[..., :3].astype(int)


def position(page: Page) -> dict[str, str]:
    """The fragment of the address once it says what the page shows."""
    settle(page)
    page.wait_for_timeout(400)  # the address is updated when the movement pauses
    return dict(part.split("=") for part in page.evaluate("location.hash.slice(1)").split("&"))


def test_the_whole_slide_is_there_at_once_with_scale_and_magnification(page: Page, address: str) -> None:
    look(page, address, "drawn")
    shown = picture(page)
    assert shown.std() > 10  # tissue, not a white page
    where = position(page)
    box = page.locator("#slide").bounding_box()
    assert box is not None
    um_per_px = float(where["um"]) / box["width"]
    times = float(page.locator("#magnification").inner_text().strip("×"))
    assert times == pytest.approx(10 / um_per_px, rel=0.01)
    bar = page.locator("#bar").bounding_box()
    length, unit = page.locator("#length").inner_text().split()
    assert bar is not None
    assert bar["width"] * um_per_px == pytest.approx(float(length) * {"µm": 1, "mm": 1000}[unit], rel=0.01)
    assert length.strip("0.")[0] in "125"


def test_a_view_is_its_address(page: Page, address: str) -> None:
    """Center, width, layers with opacity and classes, and the second picture all come back from the fragment."""
    fragment = "#x=600&y=500&um=150&layers=attention:0.3,cells:0.8:tumor:lymphocyte&side=1"
    look(page, address, "drawn", fragment)
    entries = page.evaluate("history.length")
    assert position(page) == dict(part.split("=") for part in fragment[1:].split("&"))
    assert float(page.locator("#magnification").inner_text().strip("×")) > 20
    expect(page.locator("#bare")).to_be_visible()
    cells = page.locator("[data-layer=cells]")
    expect(cells.get_by_role("checkbox", name="fibroblast")).not_to_be_checked()
    expect(cells.get_by_role("checkbox", name="tumor")).to_be_checked()
    page.keyboard.press("ArrowRight")
    assert float(position(page)["x"]) > 600
    assert page.evaluate("history.length") == entries, "moving must not flood the back button"


@pytest.mark.parametrize("um", [1100, 300, 50])
def test_what_a_layer_marks_lies_on_what_the_slide_shows(page: Page, address: str, um: int) -> None:
    """A black square of the slide and the layer's red one over it have the same edges, to a pixel, at several zooms."""
    where = f"#x={611 + SIDE / 2}&y={700 + SIDE / 2}&um={um}"
    look(page, address, "marked", where)
    without = picture(page)
    page.locator("[data-layer=squares] input[name=opacity]").fill("1")
    page.get_by_role("checkbox", name="Show").check()
    over = picture(page)
    black = without.max(axis=2) < 128
    red = (over[..., 0] > 128) & (over[..., 1] < 128)
    assert black.any()
    for axis in (0, 1):
        edges = [np.flatnonzero(np.diff(mask.any(axis=axis).astype(int))) for mask in (black, red)]
        assert len(edges[0]) == len(edges[1]) >= 2
        assert np.abs(edges[0] - edges[1]).max() <= 1


def test_layers_go_on_and_off_with_opacity_and_classes(page: Page, address: str) -> None:
    look(page, address, "drawn", "#x=640&y=512&um=200")
    bare = picture(page)
    for layer in ("attention", "contribution", "cells"):
        row = page.locator(f"[data-layer={layer}]")
        row.get_by_role("checkbox", name="Show").check()
        row.locator("input[name=opacity]").fill("1")
        full = np.abs(picture(page) - bare).mean()
        assert full > 1, layer
        row.locator("input[name=opacity]").fill("0.2")
        assert 0 < np.abs(picture(page) - bare).mean() < full, layer
        for entry in row.locator("input[name=entry]").all():
            entry.uncheck()
        assert np.abs(picture(page) - bare).mean() < 0.05, f"{layer}: all classes are off"
        row.get_by_role("checkbox", name="Show").uncheck()
    assert np.abs(picture(page) - bare).mean() < 0.05
    expect(page.locator("[data-layer=cells]")).to_contain_text("tumor")
    page.get_by_text("Missing layers").click()
    expect(page.get_by_text("run `kras profile`")).to_be_visible()


@pytest.mark.parametrize("um", [500, 170])
def test_a_half_transparent_layer_has_no_seams_between_its_tiles(page: Page, address: str, um: int) -> None:
    """A layer of one color changes every pixel by the rule of the two opacities, also where tiles meet."""
    look(page, address, safe_name(ATTACK), f"#x=512&y=512&um={um}&layers=flat:0.5")
    over = picture(page)
    page.get_by_role("checkbox", name="Show").uncheck()
    bare = picture(page)
    share = 0.5 * 128 / 255
    assert np.abs(over - ((1 - share) * bare + share * np.array([255, 0, 0]))).max() < 4


def test_pointing_shows_values_and_a_click_finds_similar_tiles_that_links_lead_to(page: Page, address: str) -> None:
    look(page, address, "drawn", "#x=640&y=512&um=300")
    box = page.locator("#slide").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.move(middle[0] + 3, middle[1] + 3)
    values = page.locator("#values")
    expect(values).to_contain_text(f"Tile at {640 // TILE * TILE}, {512 // TILE * TILE}")
    expect(values).to_contain_text("Attention")
    expect(values).to_contain_text("cancer epithelium")
    expect(page.locator(".outline")).to_be_visible()
    page.mouse.click(*middle)
    similar = page.locator("#similar li")
    expect(similar).to_have_count(3)
    expect(similar.last).to_contain_text(ATTACK)
    expect(similar.last.get_by_role("link")).to_have_count(0)
    picture_loaded = similar.first.locator("img").evaluate("(img) => img.decode().then(() => img.naturalWidth)")
    assert picture_loaded > 16
    similar.first.get_by_role("link").click()
    settle(page)
    assert position(page)["x"] == str(3 * TILE + TILE // 2)
    page.go_back()
    assert position(page)["x"] == "640"


def test_picture_and_layers_can_be_saved_and_the_page_prints(page: Page, address: str) -> None:
    look(page, address, "drawn", "#x=640&y=512&um=300&layers=attention:0.5")
    position(page)
    image = Image.open(io.BytesIO(saved(page, "Save picture")))
    assert image.format == "PNG"
    assert image.width >= 600
    assert image.info == {}
    for entry in page.locator("[data-layer=attention] input[name=entry]").all():
        entry.uncheck()
    position(page)
    assert np.asarray(Image.open(io.BytesIO(saved(page, "Save picture")))).tobytes() != np.asarray(image).tobytes()
    page.locator("[data-layer=attention] input[name=entry]").first.check()
    found = json.loads(saved(page, "GeoJSON"))
    assert found["type"] == "FeatureCollection"
    assert len(found["features"]) > 10
    page.emulate_media(media="print")
    expect(page.locator("#slide canvas").first).to_be_visible()
    expect(page.locator("#scale, .scale")).to_be_visible()
    expect(page.locator("[data-layer=attention] .entries")).to_be_visible()
    expect(page.locator("[data-layer=cells]")).to_be_hidden()
    expect(page.get_by_role("button", name="Print")).to_be_hidden()


def saved(page: Page, link: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=link).first.click()
    download: Download = waiting.value
    return Path(download.path()).read_bytes()


def test_everything_can_be_done_by_keyboard_alone(page: Page, address: str) -> None:
    look(page, address, "drawn")
    whole = position(page)
    for key in ("+", "+", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    near = position(page)
    assert float(near["um"]) < float(whole["um"]) / 2
    assert float(near["x"]) < float(whole["x"])
    page.keyboard.press("i")
    expect(page.locator("#crosshair")).to_be_visible()
    expect(page.locator("#spoken")).to_contain_text("Attention")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("3 similar tiles")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("s")
    expect(page.locator("#bare")).to_be_visible()
    page.keyboard.press("s")
    page.keyboard.press("0")
    assert float(position(page)["um"]) == pytest.approx(float(whole["um"]), rel=0.01)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name === 'on'"):
            break
    page.keyboard.press("Space")
    assert position(page)["layers"] == "attention:0.6"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_pictures_side_by_side_move_together(page: Page, address: str) -> None:
    look(page, address, "drawn", "#x=640&y=512&um=300&layers=contribution:1&side=1")
    left, right = picture(page), picture(page, "#bare")
    assert left.shape == right.shape
    assert np.abs(left - right).mean() > 3
    page.get_by_role("checkbox", name="Show").nth(1).uncheck()
    page.get_by_role("application").last.focus()
    for key in ("ArrowRight", "+", "ArrowDown"):
        page.keyboard.press(key)
    assert float(position(page)["um"]) < 250
    assert np.abs(picture(page) - picture(page, "#bare")).mean() < 1


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_is_accessible_and_fits(page: Page, address: str, size: dict[str, int]) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size(size)  # type: ignore[arg-type]
    look(page, address, "drawn", "#x=640&y=512&um=300&layers=cells:1&side=1")
    if size is NARROW:
        expect(page.locator("#panel")).to_be_hidden()
        page.get_by_role("button", name="Panel").click()
    page.keyboard.press("Enter")
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    slide = page.locator("#slide").bounding_box()
    assert slide is not None
    assert slide["height"] > 120


def test_an_attackers_names_are_text(page: Page, address: str) -> None:
    """Ids, call, cautions, labels, notes, classes, values of a place; what they do, the fixture `page` sees."""
    look(page, address, safe_name(ATTACK), "#layers=flat:1")
    for place in ("h1", "header", "[data-layer=flat] legend", "[data-layer=flat] .entries"):
        expect(page.locator(place).first).to_contain_text(ATTACK)
    page.get_by_role("application").first.focus()
    page.keyboard.press("i")
    page.keyboard.press("Enter")
    expect(page.locator("#values")).to_contain_text(ATTACK[1:])
    expect(page.locator("#similar li")).to_contain_text(ATTACK)
    assert page.evaluate("document.querySelectorAll('script:not([src]), img[onerror]').length") == 0
