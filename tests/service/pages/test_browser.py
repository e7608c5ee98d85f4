"""The service as a browser shows it: submit, watch it run, open, view, print; by keyboard, and as axe judges it."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from clean_page import clean_page
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from served import serving
from service_app import CONSOLE, REACH, Running, running
from services import need

from kras_plugins.service.worker import Worker
from kras_plugins.testing.slides import draw_slide

expect.set_options(timeout=120_000)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 400, "height": 800}
PATIENT = "TCGA-00-0000"
"""The patient whose features are in the tables; the slide of this name is a drawn one."""


@dataclass(frozen=True)
class Open:
    """A service that a browser reaches, its address, and the drawn slide."""

    service: Running
    address: str
    slide: Path

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker scores meanwhile."""
        made = self.service.service
        worker = Worker(made.db, made.settings, made.bundles)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield
        finally:
            worker.stop(now=True)
            thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need(CHROMIUM is not None, "chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def there(tables: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("pages")
    settings = serving(folder, tables, [bundle])
    slide = settings.roots[0] / f"{PATIENT}.tiff"
    draw_slide(slide, seed=3, size_um=(640.0, 512.0), mpp=0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with running(settings, replace(REACH, port=port)) as service:
            server = uvicorn.Server(uvicorn.Config(service.app, log_config=None, lifespan="off", ws="none"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield Open(service, f"http://127.0.0.1:{port}", slide)
            finally:
                server.should_exit = True
                thread.join()


@pytest.fixture(scope="module")
def context(browser: Browser, there: Open) -> Iterator[BrowserContext]:
    """A window that opened the printed address."""
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce", base_url=there.address)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(f"/login?token={CONSOLE}")
    page.wait_for_url(f"{there.address}/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, there: Open) -> Iterator[Page]:
    """A page that at the end had no errors and made no requests to other hosts."""
    with clean_page(context, there.address, "data:", "blob:") as page:
        yield page


@pytest.fixture(scope="module")
def case(context: BrowserContext, there: Open) -> str:
    """The address of a case that was submitted by the form and scored while the page was watched."""
    page = context.new_page()
    page.goto("/cases/new")
    page.get_by_label("Patient").fill("Jane Doe")
    page.get_by_label("Slides", exact=True).fill(str(there.slide))
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Waiting", exact=True)).to_be_visible()
    address = page.url
    with there.working():
        expect(page.get_by_role("heading", level=1)).to_contain_text("KRAS G12C")  # without anybody loading it again
    expect(page.get_by_text("by console")).to_be_visible()
    page.close()
    return address


def test_a_case_is_opened_from_the_worklist_and_its_slide_viewed(page: Page, case: str) -> None:
    page.goto("/")
    row = page.get_by_role("row").filter(has=page.locator(f'a[href="/cases/{case[-32:]}"]'))
    expect(row).to_contain_text("Not assessable")
    expect(row).to_contain_text("console")
    row.get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("KRAS G12C")
    page.goto(f"{case}/view/slides/{slide_name(page)}")
    expect(page.locator("#magnification")).not_to_be_empty()
    expect(page.locator("#slide")).to_have_attribute("aria-busy", "false")
    page.get_by_role("link", name="Case page").click()
    assert page.url == case


def slide_name(page: Page) -> str:
    return page.locator(".standing dd").filter(has_text="id-").first.inner_text().split(",")[0].strip()


def test_the_printed_page_has_the_result_and_nothing_to_press(page: Page, case: str) -> None:
    page.goto(case)
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    expect(page.get_by_role("button", name="Print")).to_be_hidden()
    expect(page.get_by_text("Viewed")).to_be_visible()
    expect(page.locator(".call")).to_be_visible()
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="screen")
    page.evaluate("window.print = () => document.body.dataset.printed = 'yes'")
    page.get_by_role("button", name="Print").click()
    expect(page.locator("body")).to_have_attribute("data-printed", "yes")


def test_a_file_of_this_computer_is_sent_in_pieces(page: Page, there: Open, tmp_path: Path) -> None:
    file = tmp_path / "TCGA-01-0001.svs"
    file.write_bytes(b"slide" * 1000)
    page.goto("/cases/new")
    page.evaluate("document.querySelector('#submit').dataset.piece = 700")
    page.get_by_label("Patient").fill("Uploaded")
    page.get_by_label("Slide files on this computer").set_input_files(file)
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile("/cases/[0-9a-f]{32}$"))
    expect(page.get_by_text("Waiting", exact=True)).to_be_visible()
    sent = list(there.service.service.settings.uploads.rglob("*.svs"))
    assert [one.read_bytes() for one in sent] == [file.read_bytes()]


def test_all_of_it_can_be_done_with_the_keyboard(page: Page, there: Open) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    for _ in range(20):
        if page.evaluate("document.activeElement.textContent") == "New case":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/new")
    page.get_by_label("Patient").focus()
    page.keyboard.type("By hand")
    page.keyboard.press("Tab")
    page.keyboard.type(there.service.slides([2])[0])
    for _ in range(4):
        if page.evaluate("document.activeElement.textContent") == "Submit":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Waiting", exact=True)).to_be_visible()
    page.get_by_role("button", name="Cancel").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus can be seen"
    page.keyboard.press("Enter")
    expect(page.get_by_text("Canceled", exact=True)).to_be_visible()


def test_what_the_form_does_not_take_is_said_where_it_was_typed(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/cases/new")
    page.get_by_label("Patient").fill("P. Patient")
    page.get_by_label("Slides", exact=True).fill("/etc/passwd")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("not below a folder")
    expect(page.get_by_label("Patient")).to_have_value("P. Patient")
    page.close()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(
    browser: Browser, context: BrowserContext, there: Open, case: str, size: dict[str, int]
) -> None:
    (path,) = there.service.slides([3])
    body = {"slides": [{"path": path}], "patient": "axe"}
    waits = there.service.client("submit").post("/api/v1/cases", json=body).json()["id"]
    stranger = browser.new_context(base_url=there.address)
    for window, address in (
        (stranger, "/login"), (context, "/"), (context, "/?text=nobody"), (context, "/cases/new"), (context, case),
        (context, f"/cases/{waits}"), (context, "/cases/nope"),
    ):  # fmt: skip
        page = window.new_page()
        page.set_viewport_size(size)
        page.goto(address)
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
        page.close()
    stranger.close()
