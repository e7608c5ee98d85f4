"""Fields of view and cores of tissue arrays: which images are fields, and which part of them is tissue.

A slide is a piece of tissue on glass; a field is a window into one. So a field need not show any glass, its edge cuts
tissue and cells, and it may be of any size: where it is too small for a number, that number fails, not the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from kras_plugins.slides.tissue import TISSUE_MPP, WHITE, TissueMask, find_tissue

if TYPE_CHECKING:
    from collections.abc import Callable

    from kras_plugins.data import UInt8
    from kras_plugins.slides.slide import Slide

    Thumbnail = Callable[[float], tuple[UInt8, tuple[float, float]]]

FIELD_MM2 = 6.25
"""An image no larger than this is a field: a core of 2 mm with its margin. No scan of a whole slide is this small."""
GLASS_MPP = 1.0
"""Resolution in µm per pixel at which glass is distinguished from pale tissue: fibers and granules show, scanner noise
is averaged out."""
FLAT_UM = 8.0
"""Side of the window in which a patch is flat or not: a nucleus."""
FLAT_SD = 3.0
"""Gray levels (SD of green in the window) that glass stays below; the palest stroma has 6 and more."""
GLASS_LEVEL, GLASS_SPREAD, GLASS_TINT = 170, 45, 10
"""Glass is at least this bright in its brightest channel; its channels differ by no more than that, and the mean of red
and blue exceeds green by no more than that, which is what dyes do (as in `tissue.glass_color`)."""
STAIN, STAIN_SHARE = 0.06, 0.002
"""Green excess (OD) that a nucleus has at 1 µm/px, and the least share of a field that has it: a few nuclei."""
GLASS_SHARE = 0.01
"""Share of a field below which what looks like glass is a gap, and the field all tissue."""


def is_field(size: tuple[int, int], mpp: tuple[float, float], said: bool | None = None) -> bool:
    """Whether an image of `size` (width, height) pixels of `mpp` µm is a field: as `said`, else by its area."""
    return said if said is not None else size[0] * mpp[0] * size[1] * mpp[1] <= FIELD_MM2 * 1e6


def tissue_of(slide: Slide, thumbnail: Thumbnail | None = None) -> TissueMask:
    """Where a slide or field has tissue; `thumbnail`: `slide.thumbnail`, called otherwise. Raises as that does."""
    seen = thumbnail or slide.thumbnail
    image, mpp = seen(TISSUE_MPP)
    if not slide.field:
        return find_tissue(image, float(np.mean(mpp)))
    near, near_mpp = seen(max(GLASS_MPP, *slide.mpp))
    return field_tissue(image, float(np.mean(mpp)), near, float(np.mean(near_mpp)))


def field_tissue(image: UInt8, mpp: float, near: UInt8, near_mpp: float) -> TissueMask:
    """Tissue and pen of a field: those of `find_tissue` where there is glass to compare with, else all but pen.

    `image`, `near`: uint8[h w 3], the whole field at `mpp` (made for 8) and at `near_mpp` (made for 1) µm per pixel.
    Nothing is tissue in a field without any stain: a gray picture, or a spot without a core.
    """
    glass = glass_of(near, near_mpp)
    found = find_tissue(image, mpp, glass=glass, cut=True)
    if glass is not None or not _stained(near):
        return found
    mask = ~found.pen
    od = np.log10((WHITE + 1) / (image[mask].astype(np.float64) + 1)).mean(axis=0).tolist() if mask.any() else None
    return TissueMask(mask=mask, pen=found.pen, mpp=mpp, stain_od=od and (od[0], od[1], od[2]))


def glass_of(near: UInt8, mpp: float) -> UInt8 | None:
    """The color of glass in a field, uint8[3], None where there is none: what is bright, colorless and flat.

    `near`: uint8[h w 3] at `mpp` µm per pixel. Brightness alone does not decide: pale stroma is as bright as the glass
    of many scanners, but has fibers.
    """
    low, high = near.min(axis=2), near.max(axis=2)
    green = near[..., 1].astype(np.float32)
    side = max(3, round(FLAT_UM / mpp))
    mean, square = (ndi.uniform_filter(values, side, mode="nearest") for values in (green, green * green))
    flat = square - mean * mean < FLAT_SD**2
    tint = (near[..., 0].astype(np.int16) + near[..., 2]) // 2 - near[..., 1]
    glass = flat & (high >= GLASS_LEVEL) & (high - low <= GLASS_SPREAD) & (tint <= GLASS_TINT)
    if np.count_nonzero(glass) < GLASS_SHARE * glass.size:
        return None
    color: UInt8 = np.median(near[glass], axis=0).astype(np.uint8)
    return color


def _stained(near: UInt8) -> bool:
    """Whether anything in an image absorbs green more than red and blue, as hematoxylin and eosin do."""
    level = near.astype(np.float32) + 1
    excess = np.log10(np.minimum(level[..., 0], level[..., 2]) / level[..., 1])
    return bool(np.mean(excess > STAIN) >= STAIN_SHARE)
