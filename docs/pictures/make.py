"""Makes the pictures of README and of this site, of drawn slides alone: `make pictures`, in some minutes.

    python docs/pictures/make.py [OUT] [WIDTH]

OUT: the folder to write into, by default this one; WIDTH: of the browser's window in pixels, 400 for a telephone's.
What is trained for them stays in build/pictures. It needs Chromium.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

from kras_plugins import study
from kras_plugins.service.api.reach import Reach
from kras_plugins.service.demo import Demo, prepared, submitted
from kras_plugins.service.running import Ending, run
from kras_plugins.service.settings import ServiceSettings
from kras_plugins.testing import draw_slide

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build/pictures"
MOST_BYTES = 250_000
PATIENT = "new-slide"
CELLS = "#x=1270&y=960&um=420&layers=cells"
CONTRIBUTION = "#layers=contribution"


@dataclass(frozen=True)
class Shown:
    """What the pictures are of. `study`: a folder of `kras run`; `scores`: of `kras predict`, with one slide."""

    demo: Demo
    study: Path
    scores: Path


def made() -> Shown:
    """Train on the cohort of `kras serve --demo`, and score a slide that is larger than the ones of it."""
    demo = prepared(WORK / "demo")
    slide, scores = WORK / f"{PATIENT}.tiff", WORK / "scores"
    draw_slide(slide, seed=7, size_um=(1280.0, 960.0), texture=0.3, lymphocytes=1.3)
    settings = study.StudySettings().having(cache=demo.folder / "store")
    study.score(demo.bundle, slide, settings, out=scores, overlay=True, overwrite=True)
    return Shown(demo, demo.folder / "study", scores)


def report(of: Shown, page: Page) -> Image.Image:
    """The top of a study's report."""
    page.goto((of.study / "report.html").as_uri())
    return taken(page, 1000)


def case_page(of: Shown, page: Page) -> Image.Image:
    """The top of a case page."""
    page.goto((of.scores / f"{PATIENT}.html").as_uri())
    return taken(page, 1000)


def case_tiles(of: Shown, page: Page) -> Image.Image:
    """The tiles of a case page that moved the score."""
    page.goto((of.scores / f"{PATIENT}.html").as_uri())
    heading = page.get_by_role("heading", name=re.compile("^Tiles that moved"))
    return taken(page, 760, heading)


def overlay(of: Shown, page: Page) -> Image.Image:
    """Cells and tissue over the slide, as `--overlay` writes them."""
    picture = Image.open(of.scores / f"{PATIENT}.overlay.png")
    width = (page.viewport_size or {})["width"]
    return picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.LANCZOS)


def viewer_cells(of: Shown, page: Page) -> Image.Image:
    """The viewer, near, with outlines of cells."""
    return viewed(of, page, CELLS)


def viewer_contribution(of: Shown, page: Page) -> Image.Image:
    """The viewer, the whole slide, with what each tile contributes."""
    return viewed(of, page, CONTRIBUTION)


def worklist(of: Shown, page: Page) -> Image.Image:
    """The worklist of the service when it has scored its ten patients."""
    with served(of.demo) as address:
        page.goto(address)
        expect(page.locator("#counts")).to_contain_text("0 waiting, 0 running", timeout=900_000)
        page.locator("tbody a").nth(2).click()
        page.get_by_role("link", name="Worklist").click()
        expect(page.locator("#counts")).to_be_visible()
        return taken(page, 800)


PICTURES: dict[str, Callable[[Shown, Page], Image.Image]] = {
    "report": report,
    "case-page": case_page,
    "case-tiles": case_tiles,
    "overlay": overlay,
    "viewer-cells": viewer_cells,
    "viewer-contribution": viewer_contribution,
    "worklist": worklist,
}


def taken(page: Page, height: int, top: Locator | None = None) -> Image.Image:
    """So much of the page, from its top or from an element on."""
    page.wait_for_load_state("networkidle")
    box = None if top is None else top.bounding_box()
    y = 0.0 if box is None else box["y"] - 12
    whole = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    return whole.crop((0, round(y), whole.width, min(whole.height, round(y) + height)))


def viewed(of: Shown, page: Page, fragment: str) -> Image.Image:
    """A view of `kras view`, when it stands still."""
    with viewer(of.scores) as address:
        page.goto(address)
        page.goto(f"{address.partition('?')[0]}slides/{PATIENT}{fragment}")
        expect(page.locator("#magnification")).not_to_be_empty()
        page.locator("#slide").hover(position={"x": 330, "y": 300})  # the panel has the values there
        page.wait_for_timeout(2000)
        expect(page.locator("#slide")).to_have_attribute("aria-busy", "false")
        return Image.open(io.BytesIO(page.screenshot()))


@contextmanager
def viewer(folder: Path) -> Iterator[str]:
    """The address that `kras view` prints."""
    words = [sys.executable, "-m", "kras_plugins.cli", "view", folder, "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def served(demo: Demo) -> Iterator[str]:
    """The address of a service, new each time, that scores the demonstration's patients."""
    data = WORK / "service"
    shutil.rmtree(data, ignore_errors=True)
    settings = demo.served(ServiceSettings(data=data))
    ending, addresses = Ending(), Queue[str]()

    def serve() -> None:
        run(
            settings,
            Reach(port=0),
            ending,
            workers=1,
            announce=addresses.put,
            begun=lambda arrivals: submitted(demo, arrivals),
        )

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield addresses.get(timeout=300)
    finally:
        ending.ask()
        thread.join()


def write(file: Path, image: Image.Image) -> None:
    """Write a PNG without metadata, in as many colors as MOST_BYTES leave, rare ones among them: outlines of cells."""
    for colors in (256, 128, 64, 32):
        png = io.BytesIO()
        few = image.convert("RGB").quantize(colors, method=Image.Quantize.MAXCOVERAGE)
        few.save(png, "PNG", optimize=True)
        if png.tell() <= MOST_BYTES:
            break
    file.write_bytes(png.getvalue())
    print(f"{file.name}: {png.tell() / 1000:.0f} kB, {image.width} x {image.height}, {colors} colors", flush=True)


def pictures(context: BrowserContext, out: Path) -> None:
    """All pictures into a folder."""
    of = made()
    for name, take in PICTURES.items():
        page = context.new_page()
        write(out / f"{name}.png", take(of, page))
        page.close()


def main(words: list[str]) -> None:
    """See above."""
    out, width = Path(words[0]) if words else Path(__file__).parent, int(words[1]) if words[1:] else 1280
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    size: Any = {"width": width, "height": 760}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport=size, reduced_motion="reduce")
        context.set_default_timeout(120_000)
        pictures(context, out)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
