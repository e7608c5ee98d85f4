"""Where a tile of the viewer lies on the slide: boxes in level-0 pixels, and a pyramid of square pixels over them."""

from __future__ import annotations

from dataclasses import dataclass

TILE = 512
"""Side of a tile in pixels. Tiles do not overlap: an overlap of semi-transparent layers would show as a grid."""


@dataclass(frozen=True)
class Box:
    """A rectangle on a slide in level-0 pixels, its upper left corner first; it may reach beyond the slide."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Pyramid:
    """A slide as the viewer shows it: levels of square pixels, each half as fine as the next.

    `size`: (width, height) in level-0 pixels; `slide_mpp`: µm per level-0 pixel along x and y. Level `top` is full
    resolution, that of the finer of the two axes: for an isotropic slide it is the slide's level 0, pixel for pixel.
    The pyramid's level 0 is one pixel. This is the pyramid of Microsoft's Deep Zoom; a pixel of level n is exactly
    2**(top - n) display pixels wide, so the last row and column may extend beyond the slide.
    """

    size: tuple[int, int]
    slide_mpp: tuple[float, float]

    @property
    def mpp(self) -> float:
        """Micrometres per display pixel."""
        return min(self.slide_mpp)

    @property
    def display(self) -> tuple[int, int]:
        """(width, height) at full resolution, in display pixels."""
        width, height = (max(1, round(n * own / self.mpp)) for n, own in zip(self.size, self.slide_mpp, strict=True))
        return width, height

    @property
    def scale(self) -> tuple[float, float]:
        """Display pixels per level-0 pixel along x and y."""
        return self.display[0] / self.size[0], self.display[1] / self.size[1]

    @property
    def top(self) -> int:
        """The level of full resolution."""
        return (max(self.display) - 1).bit_length()

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own pixels."""
        down = 1 << (self.top - level)
        return -(-self.display[0] // down), -(-self.display[1] // down)

    def tiles(self, level: int) -> tuple[int, int]:
        """How many tiles a level has across and down."""
        width, height = self.level_size(level)
        return -(-width // TILE), -(-height // TILE)

    def has(self, level: int, col: int, row: int) -> bool:
        """Whether this tile exists."""
        if not 0 <= level <= self.top:
            return False
        across, down = self.tiles(level)
        return 0 <= col < across and 0 <= row < down

    def box(self, level: int, col: int, row: int) -> tuple[Box, tuple[int, int]]:
        """The rectangle of an existing tile, and its (width, height) in pixels."""
        width, height = self.level_size(level)
        left, top = col * TILE, row * TILE
        size = min(TILE, width - left), min(TILE, height - top)
        down = 1 << (self.top - level)
        across, along = down / self.scale[0], down / self.scale[1]
        return Box(left * across, top * along, size[0] * across, size[1] * along), size
