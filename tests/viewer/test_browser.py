"""The viewer as a browser shows it: Chromium without a screen, on a drawn slide with layers."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from services import need
from viewed import attackers_slide, drawn_slide, marked_slide, served

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


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that was let in; at the end nothing went wrong in it, and nothing was asked of anyone else."""
    home = address.partition("?")[0]
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.on("request", lambda asked: None if asked.url.startswith((home, "data:")) else wrong.append(asked.url))
    page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
    page.goto(address)
    yield page
    context.close()
    assert wrong == []


def look(page: Page, address: str, name: str, fragment: str = "") -> None:
    """Open a slide and wait until its picture stands still."""
    page.goto(f"{address.partition('?')[0]}slides/{name}{fragment}")
    settle(page)


def settle(page: Page) -> None:
    """Wait until every tile that the view needs is drawn, and the address says where it is."""
    expect(page.locator("#magnification")).not_to_be_empty()
    page.wait_for_function("() => document.querySelector('#slide').dataset.drawn === 'yes'")


def picture(page: Page) -> np.ndarray:
    """What the slide's part of the page shows, int[h w 3]."""
    settle(page)
    shot = page.locator("#slide .openseadragon-canvas canvas").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def position(page: Page) -> dict[str, str]:
    """The fragment of the address once it says what the page shows."""
    settle(page)
    page.wait_for_function("() => location.hash.includes('um=')")
    return dict(part.split("=") for part in page.evaluate("location.hash.slice(1)").split("&"))
