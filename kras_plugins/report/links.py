"""Where pages find pictures and other pages: in the page itself and beside it, or on the server of `kras view`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode

from kras_plugins.report.case import INDEX, case_name
from kras_plugins.store import safe_name

if TYPE_CHECKING:
    from kras_plugins.report.case import CaseSlide, Tile

BARE = "slide"
"""The picture of a slide with nothing over it."""
_TILE_PX = 320
_LEVEL = 9
"""A whole slide in one tile of the viewer: 2**9 pixels."""
_AROUND = 3
"""The viewer opens on a tile with so many tiles' width around it."""


class Links(Protocol):
    """Addresses that pages name; "" where there is none."""

    @property
    def served(self) -> bool:
        """Whether `kras view` serves the page."""
        ...

    def index(self) -> str:
        """The page of all patients."""
        ...

    def case(self, patient_id: str) -> str:
        """The page of one patient."""
        ...

    def slide(self, slide_id: str) -> str:
        """The viewer on a slide."""
        ...

    def place(self, tile: Tile, mpp: float) -> str:
        """The viewer on a tile; `mpp`: µm per level-0 pixel along x."""
        ...

    def picture(self, slide: CaseSlide, layer: str = BARE) -> str:
        """A picture of the whole slide, or a layer to lie over it."""
        ...

    def tile(self, tile: Tile) -> str:
        """The picture of a tile."""
        ...


@dataclass(frozen=True, kw_only=True)
class OnDisk:
    """Pages in a folder that load nothing.

    `pictures`: data URIs by slide and layer, and by slide, x and y of a tile; `pages`: names of cases that have a page.
    """

    pictures: Mapping[tuple[str | int, ...], str] = field(default_factory=dict)
    pages: Collection[str] = ()

    served = False

    def index(self) -> str:
        """The file beside the page."""
        return INDEX

    def case(self, patient_id: str) -> str:
        """The file beside the page, where there is one."""
        name = case_name(patient_id)
        return f"{name}.html" if name in self.pages else ""

    def slide(self, slide_id: str) -> str:
        """Nothing: a file cannot start the viewer."""
        return ""

    def place(self, tile: Tile, mpp: float) -> str:
        """Nothing, as `slide`."""
        return ""

    def picture(self, slide: CaseSlide, layer: str = BARE) -> str:
        """The picture inside the page."""
        return self.pictures.get((slide.slide_id, layer), "")

    def tile(self, tile: Tile) -> str:
        """The picture inside the page."""
        return self.pictures.get((tile.slide_id, *tile.xy), "")


@dataclass(frozen=True, kw_only=True)
class Served:
    """Pages of `kras view`. `slides`, `cases`: the names of those that it shows; `base`: what addresses begin with."""

    slides: Collection[str]
    cases: Collection[str] = ()
    base: str = ""

    served = True

    def index(self) -> str:
        """The first page."""
        return f"{self.base}/"

    def case(self, patient_id: str) -> str:
        """The page of a patient who is shown."""
        name = case_name(patient_id)
        return f"{self.base}/cases/{name}" if name in self.cases else ""

    def slide(self, slide_id: str) -> str:
        """The viewer on a slide that is shown."""
        name = safe_name(slide_id)
        return f"{self.base}/slides/{name}" if name in self.slides else ""

    def place(self, tile: Tile, mpp: float) -> str:
        """The viewer with the tile in its middle."""
        x, y = (corner + side / 2 for corner, side in zip(tile.xy, tile.size, strict=True))
        where = urlencode({"x": f"{x:g}", "y": f"{y:g}", "um": f"{_AROUND * tile.size[0] * mpp:g}"})
        return _joined(self.slide(tile.slide_id), f"#{where}")

    def picture(self, slide: CaseSlide, layer: str = BARE) -> str:
        """One tile of the viewer that has the whole slide: pixels and layers of one size."""
        if slide.size is None:
            return ""
        of, ending = ("pixels", "jpg") if layer == BARE else (f"layers/{layer}", "png")
        level = min(_LEVEL, (max(slide.size) - 1).bit_length())
        return _joined(self.slide(slide.slide_id), f"/{of}/{level}/0_0.{ending}")

    def tile(self, tile: Tile) -> str:
        """The piece of the slide that the tile is."""
        what = {"x": tile.xy[0], "y": tile.xy[1], "w": f"{tile.size[0]:g}", "h": f"{tile.size[1]:g}", "px": _TILE_PX}
        return _joined(self.slide(tile.slide_id), f"/crop.jpg?{urlencode(what)}")


def _joined(base: str, rest: str) -> str:
    return base + rest if base else ""
