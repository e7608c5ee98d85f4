"""What tests of the viewer's page look at: a drawn slide with every kind of layer, and one with an attacker's names."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from marked_slides import Squares, marked
from tiff_files import READERS

from kras_plugins.data import CELL_CLASSES, SlideRef
from kras_plugins.slides.slide import Slide, open_slide
from kras_plugins.store import safe_name
from kras_plugins.testing.slides import draw_slide
from kras_plugins.viewer.app import create_app
from kras_plugins.viewer.geometry import Box, Pyramid
from kras_plugins.viewer.layers.attention import AttentionLayer
from kras_plugins.viewer.layers.cell_index import CellIndex
from kras_plugins.viewer.layers.cells import CellsLayer
from kras_plugins.viewer.layers.contribution import ContributionLayer
from kras_plugins.viewer.layers.density import Density
from kras_plugins.viewer.layers.explained import Explained
from kras_plugins.viewer.layers.layer import Entry
from kras_plugins.viewer.layers.tiles import Tiles
from kras_plugins.viewer.shown import Listed, Shown, ShownSlide

ATTACK = """<img src=x onerror=alert(1)>"'><script>alert(2)</script>javascript:alert(3)"""
MPP = 0.5
TILE = 128


@dataclass(frozen=True)
class Flat:
    """A layer of one color whose every word is an attacker's."""

    id: str = "flat"
    label: str = ATTACK
    note: str = ATTACK
    unit: str = ATTACK
    legend: tuple[Entry, ...] = (Entry("all", ATTACK, '#ff0000"/><script>alert(4)</script>', 7),)

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> np.ndarray:
        """Half-transparent red."""
        shown = keys is None or "all" in keys
        return np.full((size[1], size[0], 4), (255, 0, 0, 128 if shown else 0), np.uint8)

    def geojson(self) -> None:
        """There is none."""


def drawn_slide(file: Path) -> Listed:
    """A drawn slide with cells, attention and contribution, their values at a point, and similar tiles."""
    truth = draw_slide(file, seed=3, size_um=(640.0, 512.0), mpp=MPP)
    xy = np.array([(x, y) for y in range(0, 1024, TILE) for x in range(0, 1280, TILE)], np.int32)
    rng = np.random.default_rng(0)
    attention = rng.dirichlet(np.ones(len(xy)))
    contribution = np.where(np.arange(len(xy)) % 7 == 0, np.nan, rng.normal(size=len(xy)) * 0.01)
    explained = Explained(Tiles(xy, (TILE, TILE)), attention, contribution)

    def at(cells: CellsLayer, x: float, y: float) -> dict[str, Any]:
        tile = explained.tiles.find(x, y)
        known = None
        if tile is not None:
            known = {
                "xy": xy[tile].tolist(), "size": [TILE, TILE], "attention": round(float(attention[tile]), 4),
                "contribution": None if np.isnan(contribution[tile]) else float(contribution[tile]),
                "percentile": 50.0, "raises": bool(contribution[tile] > 0), "note": "",
            }  # fmt: skip
        return {"tile": known, "cell": cells.at(x, y), "tissue": "cancer epithelium", "left_out": None}

    def similar(x: float, y: float, n: int) -> dict[str, Any]:
        hits = [
            {
                "slide": "drawn" if i < 2 else None, "slide_id": "drawn" if i < 2 else ATTACK, "patient_id": "p",
                "xy": xy[33 + i].tolist(), "size": [TILE, TILE], "cosine": 0.9 - i / 10, "training": i == 2,
                "picture": f"/slides/drawn/crop.jpg?x={xy[33 + i][0]}&y={xy[33 + i][1]}&w={TILE}&h={TILE}&px=96"
                if i < 2
                else None,
            }
            for i in range(min(n, 3))
        ]  # fmt: skip
        return {"of": "the tiles of this slide, and of the training cohort", "hits": hits}

    def open_it() -> ShownSlide:
        slide = _open(file)
        pyramid = Pyramid(slide.size, slide.mpp)
        n = len(truth.classes)
        code = np.array([CELL_CLASSES.index(name) for name in truth.classes], np.uint8)
        none = np.full(n, np.nan, np.float32)
        area = np.full(n, 40, np.float32)
        x, y = (np.asarray(v / MPP, np.float32) for v in (truth.x_um, truth.y_um))
        index = CellIndex.of(x, y, code, np.full(n, 0.9, np.float32), area, none, slide.size, slide.mpp)
        cells = CellsLayer(index, Density.of(index, pyramid))
        return ShownSlide(
            slide=slide,
            layers=(AttentionLayer(explained, "Fold 1."), ContributionLayer(explained, "Fold 1."), cells),
            missing={"Epithelium and stroma": "no profile was made: run `kras profile`"},
            at=lambda x, y: at(cells, x, y),
            similar=similar,
            facts={"call": "Not assessable", "cautions": ["Little tumor"]},
        )

    return Listed(name="drawn", slide_id="drawn", patient_id="p", open=open_it, patient="p")


def attackers_slide(file: Path) -> Listed:
    """The same slide under names that are markup."""

    def open_it() -> ShownSlide:
        values = {"tile": None, "cell": {"class": ATTACK}, "tissue": ATTACK, "left_out": ATTACK}
        hit = {"slide": None, "slide_id": ATTACK, "patient_id": ATTACK, "xy": [0, 0], "size": [9, 9], "cosine": 1.0}
        return ShownSlide(
            slide=_open(file),
            layers=(Flat(),),
            missing={ATTACK: ATTACK},
            at=lambda x, y: values,
            similar=lambda x, y, n: {"of": ATTACK, "hits": [{**hit, "picture": None, "training": True}]},
            facts={"call": ATTACK, "cautions": [ATTACK]},
        )

    return Listed(name=safe_name(ATTACK), slide_id=ATTACK, patient_id=ATTACK, open=open_it)


@dataclass(frozen=True)
class Red(Squares):
    """The squares of `marked` in red."""

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> np.ndarray:
        """As Squares draws them."""
        drawn = super().draw(box, size, keys)
        drawn[..., 0] = 255
        return drawn


def marked_slide(file: Path) -> Listed:
    """Black squares, and a layer that draws them red from their coordinates."""
    marked(file, (MPP, MPP))
    return Listed(
        name="marked",
        slide_id="marked",
        patient_id="p",
        open=lambda: ShownSlide(slide=_open(file), layers=(Red(),)),
    )


def _open(file: Path) -> Slide:
    return open_slide(SlideRef(patient_id="p", slide_id="s", path=file, mpp=MPP), READERS)


@contextlib.contextmanager
def served(shown: Shown) -> Iterator[str]:
    """The address, token included, of a server of `shown` that runs in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with create_app(shown, "a-token", port) as app:
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            while not server.started:
                time.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{port}/?token=a-token"
            finally:
                server.should_exit = True
                thread.join()
