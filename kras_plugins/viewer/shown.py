"""What `kras view` shows: slides by name, each opened when it is viewed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.viewer.geometry import Pyramid
from kras_plugins.viewer.pixels import Pixels

if TYPE_CHECKING:
    from kras_plugins.slides.slide import Slide
    from kras_plugins.viewer.layers.layer import Layer

At = Callable[[float, float], Mapping[str, Any]]
"""What is at a point (x, y) in level-0 pixels, as the answer of the address `at`."""
Similar = Callable[[float, float, int], Mapping[str, Any]]
"""The n tiles most like the one at a point, as the answer of the address `similar`."""


def nothing_at(x: float, y: float) -> Mapping[str, Any]:
    """What is known about a point of a bare slide."""
    return {"tile": None, "cell": None, "tissue": None, "left_out": None}


def nothing_similar(x: float, y: float, n: int) -> Mapping[str, Any]:
    """The similar tiles of a bare slide: none."""
    return {"of": "", "hits": []}


@dataclass(frozen=True, kw_only=True)
class ShownSlide:
    """An open slide with what was found in it.

    `missing`: label of a missing layer -> why, and what to do. `facts`: what else the page says (`call`, `cautions`, as
    in the answer of the address `facts`). `objective`: the magnification stated in the file.
    """

    slide: Slide
    layers: tuple[Layer, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    at: At = nothing_at
    similar: Similar = nothing_similar
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def pixels(self) -> Pixels:
        """The pixels that are shown of the slide."""
        return Pixels(self.slide)

    @property
    def pyramid(self) -> Pyramid:
        """The pyramid that is shown of the slide."""
        return Pyramid(self.slide.size, self.slide.mpp)

    def layer(self, layer_id: str) -> Layer | None:
        """The layer with this id, if there is one."""
        return next((layer for layer in self.layers if layer.id == layer_id), None)

    def close(self) -> None:
        """Close the file."""
        self.slide.close()


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A slide before it is opened. `name`: unique, used in addresses; `open` raises SlideError.

    `patient`: name of the patient's case page, None without one.
    """

    name: str
    slide_id: str
    patient_id: str
    open: Callable[[], ShownSlide]
    patient: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that one `kras view` shows.

    `slides` and `cases` by name, in the order of the index; a case is its `NAME.case.json`. `report`: the study's
    report.html; `folder`: where all of it lies, None for bare slides. `target`: what was scored, "" if nothing was;
    `out_of_fold`: whether by models that never saw the patient. `base`: the beginning of these pages' addresses, "" if
    they have a server of their own.
    """

    title: str
    slides: Mapping[str, Listed]
    cases: Mapping[str, Path] = field(default_factory=dict)
    report: Path | None = None
    folder: Path | None = None
    target: str = ""
    out_of_fold: bool = False
    base: str = ""
