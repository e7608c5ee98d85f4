"""Slide files with known pixels that the kit writes for checks of readers, and samples that authors give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image

from kras_plugins.testing.checks.scenes import scene
from kras_plugins.urls import Url, place

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

SIZE = (600, 500)
MPP = 0.5
PERSON = "DOE^JANE"
"""A person's name that is written into files and must not be reported from them."""

GIVEN_ERROR = 3.0
"""Mean difference allowed from an author's reference, which may have passed through JPEG."""


@dataclass(frozen=True, kw_only=True)
class SlideFile:
    """A slide, in a file or at an address that its reader asks, with what is known about it.

    `pixels` of level 0 uint8[h w 3], `mpp`, and whether the file states it.
    """

    path: Path | Url
    pixels: UInt8 | None = None
    mpp: float | None = None
    stated: bool = False
    mean_error: float = GIVEN_ERROR


def given(samples: Sequence[Any]) -> list[SlideFile]:
    """The author's samples: paths or addresses, or (path, pixels)."""
    pairs = [s if isinstance(s, tuple) else (s, None) for s in samples]
    return [SlideFile(path=place(path), pixels=pixels) for path, pixels in pairs]


def written(suffixes: Sequence[str], folder: Path) -> list[SlideFile]:
    """A pyramidal TIFF and a PNG, as far as a reader supports them; nothing that the kit cannot write."""
    pixels = scene(*SIZE, MPP)
    found = []
    tiff = next((s for s in (".tiff", ".tif") if s in suffixes), None)
    if tiff is not None:
        _write_pyramid(folder / f"known{tiff}", pixels)
        found.append(SlideFile(path=folder / f"known{tiff}", pixels=pixels, mpp=MPP, stated=True, mean_error=0.5))
    if ".png" in suffixes:
        Image.fromarray(pixels).save(folder / "known.png")
        found.append(SlideFile(path=folder / "known.png", pixels=pixels, mpp=MPP, mean_error=0.5))
    return found


def transparent(suffixes: Sequence[str], folder: Path) -> SlideFile | None:
    """A file whose left half is transparent, over dark pixels; None if the kit cannot write one."""
    if ".png" not in suffixes:
        return None
    pixels = np.full((64, 64, 4), (10, 20, 30, 255), np.uint8)
    pixels[:, :32, 3] = 0
    Image.fromarray(pixels).save(folder / "transparent.png")
    return SlideFile(path=folder / "transparent.png")


def _write_pyramid(path: Path, pixels: UInt8) -> None:
    """A lossless pyramid that both OpenSlide and tifffile read."""
    with tifffile.TiffWriter(path) as tiff:
        for level in range(3):
            small = pixels if level == 0 else np.asarray(Image.fromarray(pixels).reduce(2**level))
            tiff.write(
                small,
                tile=(128, 128),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(level > 0),
                resolution=(1e4 / MPP / 2**level, 1e4 / MPP / 2**level),
                resolutionunit="CENTIMETER",
                description=f"Patient Name = {PERSON}" if level == 0 else None,
                metadata=None,
                software=False,
            )
