"""What the readers of all formats return: cells in bulk, regions one by one, and what the file states about itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

    Geometries = npt.NDArray[np.object_]

CELLS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some cells as a file has them, in its own units.

    `names`: class names; `xy`: float64[cell 2], NaN where only the outline says where a cell is; `outlines`: shapely
    polygons, None where there is none; `nuclear`: bool[cell], whether the outline is the nucleus' (a cell's border
    says nothing about nuclear shape); `columns`: cell measurements, float64[cell] each, NaN where not given.
    """

    names: Sequence[str]
    xy: Float64
    outlines: Geometries | None = None
    nuclear: Bool | None = None
    columns: Mapping[str, Float64] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Region:
    """One annotation: its class name and its polygon or multipolygon of shapely."""

    name: str
    geometry: Any


@dataclass
class LeftOut:
    """Objects of a file that are not used: `nowhere` have no position, `damaged` cannot be read; `first`: one of these.

    Counted while the file is streamed.
    """

    nowhere: int = 0
    damaged: int = 0
    first: str = ""

    def damage(self, what: str) -> None:
        """Count one that cannot be read."""
        self.damaged += 1
        self.first = self.first or what


@dataclass(frozen=True, kw_only=True)
class Source:
    """One open file: `items` stream its cells and regions; what it does not state is None.

    `mpp`: µm per level-0 pixel; `magnification`: that of its coordinates' pixels, which need not be level 0;
    `size`: (width, height) of the slide in level-0 pixels; `units`: `px` or `um`; `provides`: the classes of ours that
    its maker could give; `names`: all class names that its maker uses; `left_out`: what was not used so far.
    """

    items: Iterator[Chunk | Region]
    mpp: float | None = None
    magnification: float | None = None
    size: tuple[float, float] | None = None
    units: str | None = None
    provides: frozenset[str] | None = None
    names: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
