"""What a layer of the viewer must provide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kras_plugins.data import UInt8
    from kras_plugins.viewer.geometry import Box


@dataclass(frozen=True)
class Entry:
    """One line of a legend: `color` as `#rrggbb`; `count`: how much there is, None if nothing is counted."""

    key: str
    label: str
    color: str
    count: float | None = None


class Layer(Protocol):
    """One layer over one slide; all members may be used from many threads at once.

    `id` appears in addresses, `label` and `note` (what it shows, and what it does not) on the page; `unit`: that of the
    legend's counts, "" without counts.
    """

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def note(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def legend(self) -> tuple[Entry, ...]: ...  # noqa: D102

    def draw(self, box: Box, size: tuple[int, int], keys: frozenset[str] | None) -> UInt8:
        """RGBA uint8[h w 4] of a rectangle, `size` (width, height) pixels; transparent where there is nothing.

        `keys`: the entries of the legend to show, None for all. The same rectangle always gives the same pixels.
        """
        ...

    def geojson(self) -> Iterator[bytes] | None:
        """The layer as GeoJSON in level-0 pixels, QuPath's frame, piece by piece; None if it has no GeoJSON."""
        ...
