"""A view of a slide as one picture: the slide, layers over it, a scale bar and their legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kras_plugins.report.html import png_bytes

if TYPE_CHECKING:
    from kras_plugins.viewer.geometry import Box
    from kras_plugins.viewer.layers.layer import Layer
    from kras_plugins.viewer.shown import ShownSlide

MOST_PX = 4096
"""Longer side of a picture, in pixels."""
_INK, _PAPER = (31, 41, 51), (255, 255, 255)


@dataclass(frozen=True)
class Overlay:
    """A layer over the slide: `opacity` in [0, 1]; `keys`: the entries of its legend to draw, None for all."""

    layer: Layer
    opacity: float
    keys: frozenset[str] | None = None


def fitted(box: Box, scale: tuple[float, float], longer: int) -> tuple[int, int]:
    """(width, height) in square pixels of a box's picture with `longer` on its longer side; `scale`: a Pyramid's."""
    width, height = box.width * scale[0], box.height * scale[1]
    most = max(width, height)
    return max(1, round(longer * width / most)), max(1, round(longer * height / most))


def overlaid(shown: ShownSlide, box: Box, size: tuple[int, int], overlays: Sequence[Overlay]) -> Image.Image:
    """RGB picture of a box with layers over it, the first lowest."""
    picture = Image.fromarray(shown.pixels.box(box, size)).convert("RGBA")
    for overlay in overlays:
        drawn = overlay.layer.draw(box, size, overlay.keys).copy()
        drawn[..., 3] = np.rint(drawn[..., 3] * overlay.opacity)
        picture.alpha_composite(Image.fromarray(drawn))
    return picture.convert("RGB")


def view_png(shown: ShownSlide, box: Box, size: tuple[int, int], overlays: Sequence[Overlay]) -> bytes:
    """`overlaid` with a scale bar on it and the layers' legends below, as PNG without metadata, ids or names."""
    picture = overlaid(shown, box, size, overlays)
    um_per_px = box.width * shown.slide.mpp[0] / size[0]
    _draw_scale(picture, um_per_px)
    legend = _legend(overlays, picture.width)
    if legend is not None:
        whole = Image.new("RGB", (picture.width, picture.height + legend.height), _PAPER)
        whole.paste(picture, (0, 0))
        whole.paste(legend, (0, picture.height))
        picture = whole
    return png_bytes(picture)


def scale_bar(width_um: float) -> float:
    """A round length (1, 2 or 5 times a power of ten, µm) of at most a quarter of a view's width."""
    most = width_um / 4
    power = 10.0 ** math.floor(math.log10(most))
    return max(k * power for k in (1, 2, 5) if k * power <= most * (1 + 1e-9))


def length(um: float) -> str:
    """A length as people write it."""
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm"


def _font(px: float) -> ImageFont.FreeTypeFont:
    import matplotlib

    # Pillow's own font has no µ.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", px)


def _text_px(width: int) -> int:
    return max(11, min(28, width // 60))


def _draw_scale(picture: Image.Image, um_per_px: float) -> None:
    """Draw a scale bar in the lower left corner, on white, as tissue has all colors; nothing if it does not fit."""
    px = _text_px(picture.width)
    bar = scale_bar(picture.width * um_per_px)
    text, font, across = length(bar), _font(px), round(bar / um_per_px)
    wide = max(across, math.ceil(font.getlength(text))) + px
    if wide + px > picture.width or 4 * px > picture.height:
        return
    left, low = px // 2, picture.height - px // 2
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, low - 2 * px - px // 2, left + wide - 1, low - 1), fill=_PAPER)
    draw.text((left + px // 2, low - 2 * px - px // 4), text, fill=_INK, font=font)
    thick = max(2, px // 5)
    draw.rectangle((left + px // 2, low - px // 2 - thick, left + px // 2 + across - 1, low - px // 2 - 1), fill=_INK)


def _legend(overlays: Sequence[Overlay], width: int) -> Image.Image | None:
    """The legends of layers, one line each, or more if the width requires it; None without layers."""
    px = _text_px(width)
    font, row, gap = _font(px), round(px * 1.6), px // 2
    items: list[tuple[int, int, str, str]] = []  # x, y, color, text
    x, y = gap, gap
    for layer, keys in ((overlay.layer, overlay.keys) for overlay in overlays):
        title = f"{layer.label}{f' ({layer.unit})' if layer.unit else ''}:"
        entries = [(entry.color, entry.label) for entry in layer.legend if keys is None or entry.key in keys]
        for color, text in [("", title), *entries]:
            wide = math.ceil(font.getlength(text)) + gap * 2 + (row if color else 0)
            if x > gap and x + wide > width:
                x, y = gap * 4, y + row
            items.append((x, y, color, text))
            x += wide
        x, y = gap, y + row
    if not items:
        return None
    picture = Image.new("RGB", (width, y + gap), _PAPER)
    draw = ImageDraw.Draw(picture)
    for x, y, color, text in items:
        if color:
            draw.rectangle((x, y + px // 6, x + px, y + px // 6 + px), fill=color)
        draw.text((x + (row if color else 0), y), text, fill=_INK, font=font)
    return picture
