"""The resolution that a TIFF states: OME-XML, an Aperio description, resolution tags."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kras_plugins.slides.ome import positive

if TYPE_CHECKING:
    from kras_plugins.slides.tiff import TiffImage

    Mpp = tuple[float, float] | None

RESOLUTION_UM = {2: 25400.0, 3: 10000.0}
"""Micrometers per TIFF ResolutionUnit: inch, centimeter."""
PLAUSIBLE = (0.05, 20.0)
"""Resolution tags outside of these µm per pixel are defaults of writing software (72, 96 or 300 dpi)."""


@dataclass(frozen=True)
class Scale:
    """Micrometers per pixel (x, y) and objective power, None where not stated; stated values that cannot be true."""

    mpp: Mpp
    power: float | None
    warnings: tuple[str, ...] = ()


def find_scale(image: TiffImage, aperio: bool) -> Scale:
    """The scale of a slide in a TIFF; `aperio`: whether Aperio's software wrote the description."""
    page = image.levels[0]
    if image.ome is not None:
        mpp, power, nonsense = image.ome.mpp, image.ome.power, image.ome.nonsense
    else:
        text = page.description if isinstance(page.description, str) else ""
        stated = dict(re.findall(r"\b(MPP|AppMag)\s*=\s*([^\s|;]{1,40})", text))
        side, power = positive(stated.get("MPP")), positive(stated.get("AppMag"))
        mpp = (side, side) if side else None
        nonsense = tuple(f"{name} = {value}" for name, value in stated.items() if aperio and positive(value) is None)
    warnings = tuple(f"the file states {what}, which is not a positive number and was ignored" for what in nonsense)
    return Scale(mpp or _resolution_tags(page), power, warnings)


def _resolution_tags(page: Any) -> Mpp:
    """µm per pixel by the tags, None if they state none, or one that cannot be true (0, 72 dpi)."""
    try:
        unit = RESOLUTION_UM.get(int(page.tags.valueof("ResolutionUnit", 1)))
        (x, over_x), (y, over_y) = page.tags.valueof("XResolution"), page.tags.valueof("YResolution")
        mpp = (unit or math.nan) * over_x / x, (unit or math.nan) * over_y / y
    except (TypeError, ValueError, ArithmeticError):  # absent, or not fractions
        return None
    return mpp if all(PLAUSIBLE[0] <= side <= PLAUSIBLE[1] for side in mpp) else None
