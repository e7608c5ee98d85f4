"""How soon a pan is seen with a million cells on view: `python benchmarks/viewer_browser.py`.

A slide of 20 mm x 20 mm at 0.25 µm per pixel, Aperio-like, with 1,000,000 cells (those of `viewer_layers.py`), in
Chromium without a screen or graphics card, 1,280 x 800. At each width of a view, arrow keys move it by a fifth, 20
times, over tiles not requested before. Milliseconds, median and 95th percentile:

    frame    from the key until the browser has painted the moved image, with the tiles it has
    whole    from the key until the tiles that came into view, of slide and cells, are painted too
"""

from __future__ import annotations

import queue
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

from embed import make_slide
from playwright.sync_api import Page, sync_playwright
from viewer_layers import MPP, SIZE, write_cells

from kras_plugins.data import SlideRef
from kras_plugins.host.config import load_config
from kras_plugins.host.manager import discover
from kras_plugins.host.parts import usable_readers
from kras_plugins.slides.slide import open_slide
from kras_plugins.viewer.geometry import Pyramid
from kras_plugins.viewer.layers.cells import CellsLayer
from kras_plugins.viewer.server import serve
from kras_plugins.viewer.shown import Listed, Shown, ShownSlide

WIDTHS = {"outlines": 200, "dots": 1500, "densities": 6000, "densities, far": 15000}
"""µm across the view."""
PANS = 20
PAN = """async (key) => {
  const stage = document.querySelector("#slide");
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const start = performance.now();
  stage.querySelector(".openseadragon-canvas").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  await frame();
  await frame();
  const moved = performance.now() - start;
  while (stage.getAttribute("aria-busy") !== "false") await frame();
  await frame();
  return [moved, performance.now() - start];
}"""


def shown(folder: Path) -> Shown:
    """The slide and its cells, written into a folder."""
    file = folder / "slide.svs"
    make_slide(file, SIZE[0], mpp=MPP)
    write_cells(folder)
    readers = usable_readers(discover(), load_config(None))

    def opened() -> ShownSlide:
        slide = open_slide(SlideRef(patient_id="", slide_id="bench", path=file), readers)
        return ShownSlide(slide=slide, layers=(CellsLayer.read(folder, Pyramid(slide.size, slide.mpp)),))

    return Shown(title="bench", slides={"bench": Listed(name="bench", slide_id="bench", patient_id="", open=opened)})


def pan(page: Page, home: str, um: int) -> list[list[float]]:
    """[frame, whole] of each pan, in ms; never back and forth, which would find tiles that are already loaded."""
    page.goto("about:blank")
    page.goto(f"{home}slides/bench#x={SIZE[0] // 4}&y={SIZE[1] // 4}&um={um}&layers=cells:1")
    page.wait_for_selector("#slide[aria-busy=false]", timeout=120_000)
    keys = ["ArrowRight", "ArrowDown"] * (PANS // 2)
    return [page.evaluate(PAN, key) for key in keys]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        addresses: queue.Queue[str] = queue.Queue()
        given = {"browser": False, "announce": addresses.put}
        threading.Thread(target=serve, args=(shown(Path(folder)), 0), kwargs=given, daemon=True).start()
        address = addresses.get()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page = context.new_page()
        page.goto(address)
        page.wait_for_url("**/slides/bench", timeout=120_000)
        print(f"{'view':16} {'µm':>6} {'frame':>12} {'whole':>12}   ms, median and 95th percentile")
        for name, um in WIDTHS.items():
            columns = zip(*pan(page, address.partition("?")[0], um), strict=True)
            texts = [f"{statistics.median(c):.0f}, {statistics.quantiles(c, n=20)[-1]:.0f}" for c in columns]
            print(f"{name:16} {um:6} {texts[0]:>12} {texts[1]:>12}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
