"""What tests of the viewer show, and a browser that may look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient
from tiff_files import READERS, images, noise

from kras_plugins import SlideRef
from kras_plugins.slides.slide import open_slide
from kras_plugins.viewer.shown import Listed, Shown, ShownSlide

TOKEN, PORT = "token-of-a-test", 8765


def browser(app: Any) -> TestClient:
    """A browser that opened the first address."""
    client = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    return client


def listed(name: str, path: Path, mpp: float | None = None, layers: Sequence[Any] = ()) -> Listed:
    def opened() -> ShownSlide:
        ref = SlideRef(patient_id="p", slide_id=name, path=path, mpp=mpp)
        return ShownSlide(slide=open_slide(ref, READERS), layers=tuple(layers))

    return Listed(name=name, slide_id=name, patient_id="p", open=opened)


def shown_of(*slides: Listed) -> Shown:
    return Shown(title="slides", slides={one.name: one for one in slides})


def shown_bare(folder: Path) -> Shown:
    """One slide of noise, 700 x 600 pixels of 0.5 µm."""
    return shown_of(listed("bare", images(folder / "bare.tif", [(noise(600, 700), {})]), 0.5))
