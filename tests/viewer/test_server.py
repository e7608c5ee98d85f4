"""The server of `kras view`: on loopback alone, as a process that opens, answers and ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from shown_slides import shown_bare
from tiff_files import images, noise

from kras_plugins import API_VERSION, ConfigError
from kras_plugins.viewer import server
from kras_plugins.viewer.server import serve

VIEW = [sys.executable, "-m", "kras_plugins.cli", "view"]


@contextmanager
def viewing(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `kras view` that runs, and the address that it printed."""
    process = subprocess.Popen(
        [*VIEW, "--no-browser", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_slide_is_served_at_the_printed_address_until_the_process_is_told_to_end(tmp_path: Path) -> None:
    slide = images(tmp_path / "a <i>.tif", [(noise(600, 700), {"resolution": (20000, 20000)})])
    with viewing(str(slide)) as (process, address):
        url = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/\?token=[\w-]{40,}", address)
        assert url is not None, address
        with httpx.Client(base_url=url[1], trust_env=False, timeout=60) as client:
            assert client.get("/").status_code == 403
            client.get(address)
            page = client.get("/", follow_redirects=True)
            assert page.status_code == 200
            assert "<i>.tif" not in page.text
            assert client.get(f"{page.url.path}/pixels/9/0_0.jpg").headers["content-type"] == "image/jpeg"
            process.send_signal(signal.SIGTERM)  # while the browser's connection is still open
            _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "token" not in said


STUCK = """
import threading
from kras_plugins import Level, ReaderPlugin, SlideSource, hookimpl

KRAS_API = {api}


class Stuck(SlideSource):
    levels, mpp = (Level(width=600, height=500),), (0.5, 0.5)

    def read_level(self, level, xy, size):
        threading.Event().wait()


@hookimpl
def kras_readers():
    yield ReaderPlugin(name="stuck", summary="never ends", suffixes=(".stuck",), open=lambda path, options: Stuck())
"""


def test_ctrl_c_ends_it_also_where_a_read_never_does(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK.format(api=API_VERSION))
    (tmp_path / "a.stuck").write_bytes(b"pixels")
    with viewing(str(tmp_path / "a.stuck"), "--plugin", str(tmp_path / "stuck.py")) as (process, address):
        url, _, token = address.partition("/?token=")
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            client.get("/", params={"token": token})
            with pytest.raises(httpx.ReadTimeout):
                client.get("/slides/a/pixels/9/0_0.jpg", timeout=1)
            assert client.get("/static/nothing").status_code == 404  # others are answered meanwhile
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} cannot be used"):
            serve(shown_bare(tmp_path), port, browser=False, announce=lambda _: None)


def test_it_listens_on_loopback_and_opens_the_browser_at_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []
    asked: list[str] = []
    monkeypatch.setattr(server, "_run", lambda _, sock: seen.append((*sock.getsockname(), sock.proto)))
    monkeypatch.setattr(server.webbrowser, "open", asked.append)
    addresses: list[str] = []
    for browser in (False, True):
        serve(shown_bare(tmp_path), 0, browser=browser, announce=addresses.append)
    assert {host for host, _, _ in seen} == {"127.0.0.1"}
    # What asyncio sends without delay: a tile waited 40 ms for the acknowledgment of its header.
    assert {protocol for _, _, protocol in seen} == {socket.IPPROTO_TCP}
    assert len({address.partition("token=")[2] for address in addresses}) == 2
    for thread in server.threading.enumerate():
        if thread.name == "kras-browser":
            thread.join()
    assert asked == addresses[1:]


def test_without_its_packages_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ImportError('no fastapi here')")
    said = subprocess.run(
        [*VIEW, "a.tif"], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert said.stderr.splitlines() == [
        "error: kras view needs packages that are not installed: no fastapi here",
        'hint: pip install "kras[view]"',
    ]
