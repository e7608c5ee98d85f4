"""What a TIFF says of its resolution: OME-XML, an Aperio description, resolution tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    Mpp = tuple[float, float] | None

UM = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25400.0}
"""Micrometres per OME length unit; both signs for micro are in use. Units like `pixel` state nothing."""
RESOLUTION_UM = {2: 25400.0, 3: 10000.0}
"""Micrometres per TIFF ResolutionUnit: inch, centimetre."""
PLAUSIBLE = (0.05, 20.0)
"""Resolution tags outside of these µm per pixel are defaults of writing software (72, 96 or 300 dpi)."""


def find_scale(tif: Any, page: Any) -> tuple[Mpp, float | None]:
    """Micrometres per pixel (x, y) of a tifffile page and the objective power, None where not stated."""
    if tif.is_ome:
        mpp, power = _ome(tif.ome_metadata, page.imagewidth, page.imagelength)
    else:
        mpp, power = _aperio(page.description)
    return mpp or _resolution_tags(page), power


def _ome(xml: str, width: int, height: int) -> tuple[Mpp, float | None]:
    """Scale of the first OME image of this size. Raises ElementTree.ParseError on broken XML."""
    root = ElementTree.fromstring(xml)
    for image in root.iterfind("{*}Image"):
        pixels = image.find("{*}Pixels")
        if pixels is None or (pixels.get("SizeX"), pixels.get("SizeY")) != (str(width), str(height)):
            continue
        sides = [
            float(pixels.get(f"PhysicalSize{axis}", "0")) * UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0)
            for axis in "XY"
        ]
        used = image.find("{*}ObjectiveSettings")
        power = None
        for objective in root.iterfind("{*}Instrument/{*}Objective"):
            if used is not None and objective.get("ID") == used.get("ID"):
                power = float(objective.get("NominalMagnification", "0")) or None
        return ((sides[0], sides[1]) if min(sides) > 0 else None), power
    return None, None


def _aperio(description: str) -> tuple[Mpp, float | None]:
    """Scale from `|AppMag = 20|MPP = 0.4990|`."""
    found = dict(re.findall(r"\b(MPP|AppMag)\s*=\s*([0-9.]*[0-9])", description))
    mpp, power = float(found.get("MPP", 0)), float(found.get("AppMag", 0))
    return ((mpp, mpp) if mpp > 0 else None), power or None


def _resolution_tags(page: Any) -> Mpp:
    unit = RESOLUTION_UM.get(int(page.tags.valueof("ResolutionUnit", 1)))
    x, y = page.tags.valueof("XResolution"), page.tags.valueof("YResolution")
    if unit is None or not x or not y or 0 in (*x, *y):
        return None
    mpp = unit * x[1] / x[0], unit * y[1] / y[0]
    return mpp if all(PLAUSIBLE[0] <= side <= PLAUSIBLE[1] for side in mpp) else None
