"""The images that a file's OME-XML describes, and numbers as other people's software writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

UM = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25400.0}
"""Micrometers per OME length unit; both signs for micro are in use. Units like `pixel` state nothing."""

MAX_CHARACTERS = 1 << 25
"""Characters in the longest OME-XML that is parsed: that of slides has some thousands."""


@dataclass(frozen=True, kw_only=True)
class OmeImage:
    """One Image of OME-XML.

    `size`: width and height in pixels. `depth`, `times`, `samples`: SizeZ, SizeT and SizeC, which counts the colors of
    RGB as three. `mpp`: µm per pixel (x, y) and `power`: the objective's magnification, None where not stated.
    `nonsense`: stated values that cannot be true.
    """

    name: str
    size: tuple[int, int]
    depth: int
    times: int
    samples: int
    mpp: tuple[float, float] | None
    power: float | None
    nonsense: tuple[str, ...] = ()


def positive(text: str | None) -> float | None:
    """The number that a text states, also with a decimal comma; None where it states no positive number."""
    try:
        value = float((text or "").replace(",", "."))
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def ome_images(xml: str) -> Iterator[OmeImage]:
    """Every described image. Raises ElementTree.ParseError on broken XML, ValueError on sizes that are not numbers."""
    if len(xml) > MAX_CHARACTERS:
        raise ValueError(f"{len(xml)} characters of OME-XML")
    root = ElementTree.fromstring(xml)
    powers = {o.get("ID"): o.get("NominalMagnification") for o in root.iterfind("{*}Instrument/{*}Objective")}
    for image in root.iterfind("{*}Image"):
        pixels, used = image.find("{*}Pixels"), image.find("{*}ObjectiveSettings")
        if pixels is None:
            continue
        stated = {axis: pixels.get(f"PhysicalSize{axis}") for axis in "XY"}
        sides = [
            (positive(text) or 0.0) * UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)
            for axis, text in stated.items()
        ]
        width, height, depth, samples, times = (int(pixels.get(f"Size{axis}", 1)) for axis in "XYZCT")
        yield OmeImage(
            name=image.get("Name", ""),
            size=(width, height),
            depth=depth,
            times=times,
            samples=samples,
            mpp=(sides[0], sides[1]) if min(sides) > 0 else None,
            power=positive(powers.get(used.get("ID"))) if used is not None else None,
            nonsense=tuple(
                f"PhysicalSize{axis} = {text}" for axis, text in stated.items() if text and positive(text) is None
            ),
        )
