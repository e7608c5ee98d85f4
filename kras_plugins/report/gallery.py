"""Tiles side by side as one picture: most attended, or most alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

_SIDE, _GAP, _LINE = 192, 12, 17
_INK, _PALE, _FRAME = (31, 41, 51), (110, 120, 130), (200, 80, 20)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One of a gallery.

    `pixels` uint8[h w 3], None where there is no slide to read them from; `caption`: up to three short lines.
    """

    pixels: UInt8 | None
    caption: tuple[str, ...]
    framed: bool = False


def tile_gallery(tiles: Sequence[Picture], title: str, columns: int = 4) -> Image.Image:
    """The tiles in reading order under a title, each with its caption; framed ones stand out."""
    columns = max(1, min(columns, len(tiles)))
    lines = max((len(t.caption) for t in tiles), default=0)
    step_x, step_y = _SIDE + _GAP, _SIDE + lines * _LINE + _GAP
    rows = -(-len(tiles) // columns)
    font = ImageFont.load_default(12)
    width = max(columns * step_x + _GAP, int(font.getlength(title)) + 2 * _GAP)
    canvas = Image.new("RGB", (width, 2 * _GAP + _LINE + rows * step_y), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, fill=_INK, font=font)
    for i, tile in enumerate(tiles):
        x, y = _GAP + i % columns * step_x, 2 * _GAP + _LINE + i // columns * step_y
        if tile.pixels is None:
            draw.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), fill=(236, 238, 240))
            draw.text((x + _SIDE // 2, y + _SIDE // 2), "no slide", fill=_PALE, font=font, anchor="mm")
        else:
            canvas.paste(Image.fromarray(tile.pixels).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (x, y))
        if tile.framed:
            draw.rectangle((x - 3, y - 3, x + _SIDE + 2, y + _SIDE + 2), outline=_FRAME, width=3)
        for k, line in enumerate(tile.caption):
            color = _INK if k == 0 else _PALE
            draw.text((x, y + _SIDE + 4 + k * _LINE), _short(line, font), fill=color, font=font)
    return canvas


def _short(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A line as wide as a tile at most: its middle is left out, since slide names differ at their ends."""
    shown, keep = line, len(line)
    while font.getlength(shown) > _SIDE:
        keep -= 1
        shown = f"{line[: keep // 2]}…{line[-(keep - keep // 2) :]}"
    return shown
