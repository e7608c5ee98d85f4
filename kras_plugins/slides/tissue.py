"""Where a slide has tissue and where it has pen, seen at low power.

Everything is judged in optical density relative to the slide's own glass, od = -log10(I / I_glass) per channel
(Ruifrok & Johnston 2001): gray things (shadow, dust, scanner edges, tinted glass) then have no color, hematoxylin and
eosin always absorb green more than red and blue, and every marker breaks that order in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float32, UInt8

TISSUE_MPP = 8.0
"""Resolution of the tissue mask in µm per pixel: a nucleus is one pixel, a whole slide a few megapixels."""
MIN_TISSUE_MM2 = 0.01
"""Smaller objects are dust; the smallest needle biopsy fragment worth a tile is about as large as one (0.0125 mm²)."""
MAX_HOLE_MM2 = 0.02
"""Smaller holes are lumen, fat or pigment inside tissue; larger ones (an open alveolus is 0.03 mm²) could contain whole
tiles of glass."""
MIN_PEN_MM2 = 0.02
"""Smaller spots of pen color are folds, pigment or refraction at an edge, not strokes."""
MIN_BLACK_PEN_MM2 = 0.1
"""The same for black, where anthracotic pigment, common in lung, comes in clumps of up to some hundred µm."""
MAX_PEN_HOLE_MM2 = 0.05
"""Smaller gaps in a stroke are ink too; what a ring is drawn around is larger."""
PEN_WIDTH_UM = 60.0
"""A marker's line is at least about 300 µm wide; spots must fill a window of this width to count as one."""
PEN_MPP = 16.0
"""Resolution at which pen is looked for: strokes are coarse, and this is the costliest part."""
SMOOTH_UM = 20.0
"""Joins nuclei, fibers and the gaps between them to tissue; below an alveolus, above JPEG noise at 8 µm/px."""
WEAK, SEED = 0.025, 0.03
"""Green excess (OD) that tissue must have at all, and somewhere in each object: glass with JPEG noise stays below
0.015, the palest tissue (fat, mucin) has 0.03, ordinary tissue 0.1 to 0.4. Fixed, because a threshold found by Otsu's
method divides noise on blank glass and pale from dark tissue on a full slide."""
WHITE = 245
"""Gray level assumed for glass in an image that shows none: nearly white."""
CUT_SHARE = 1 / 16
"""Share of a small field that a piece of tissue has at least."""
BLACK = 50
"""No stained tissue at low power is this dark in red, green and blue at once; marker and scanner edges are."""


@dataclass(frozen=True, kw_only=True)
class TissueMask:
    """`mask` and `pen`: bool[h w] that never overlap, pixels of `mpp` µm, upper left corner at the slide's.

    `stain_od`: mean optical density of the tissue in red, green and blue, relative to the slide's glass; None where
    there is no tissue, or it was not measured.
    """

    mask: Bool
    pen: Bool
    mpp: float
    stain_od: tuple[float, float, float] | None = None

    @property
    def area_mm2(self) -> float:
        """Tissue area in mm²."""
        return float(np.count_nonzero(self.mask)) * (self.mpp / 1000) ** 2


def find_tissue(image: UInt8, mpp: float, *, glass: UInt8 | None = None, cut: bool = False) -> TissueMask:
    """Find tissue and pen on a low-power picture of a slide.

    `image`: uint8[h w 3], the whole slide at `mpp` µm per pixel (made for 8; 2 to 64 works). What lies under pen is
    not tissue: its color would mislead any encoder. Black that reaches the picture's edge is the scanner's, not pen.
    Deterministic. `cut`: the picture is a field, whose edge cuts what is on it. Pieces at the edge may be small, gaps
    there are not holes, and its `glass` (uint8[3], nearly white where None) is given, not looked for.
    """
    if glass is None:
        glass = np.full(3, WHITE, np.uint8) if cut else glass_color(image)
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = -np.log10((levels + 1) / (glass.astype(np.float32) + 1))
    red, green, blue = (table[:, c][image[..., c]] for c in range(3))

    black = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2]) < BLACK
    scanner = _touching_edge(_solid(black, mpp))
    excess = np.maximum(green - np.minimum(red, blue), 0)
    step = max(1, int(PEN_MPP / mpp))
    coarse = (slice(None, None, step), slice(None, None, step))
    ink = (black & ~scanner)[coarse]
    for density in (red, green, blue, excess):
        density[scanner] = 0  # noise in black has any color
    pen = _find_pen(red[coarse], green[coarse], blue[coarse], excess[coarse], ink, mpp * step)
    pen = pen.repeat(step, 0).repeat(step, 1)[: len(image), : image.shape[1]]
    # Sensors ring and JPEG colors bleed for a few pixels beside black and at the rim of a stroke.
    barred = ndi.binary_dilation(scanner | pen, iterations=2)

    # Neither dye absorbs red (blue or green ink) or blue (yellow dirt, glue) much more than green.
    excess[(red > 1.25 * green + 0.02) | (blue > 1.3 * green + 0.03) | barred] = 0
    excess[black & ~barred] = SEED  # pigment: tissue where it is connected to tissue, dust elsewhere
    excess = _smooth(excess, SMOOTH_UM / mpp)

    least = min(MIN_TISSUE_MM2, CUT_SHARE * excess.size * (mpp / 1000) ** 2) if cut else MIN_TISSUE_MM2
    mask = _objects(excess > WEAK, least, mpp, seeds=excess > SEED)
    gaps = _filled(mask, MAX_HOLE_MM2, mpp) & ~mask
    mask |= gaps & ~_touching_edge(gaps) if cut else gaps
    mask &= ~barred
    stain = (float(red[mask].mean()), float(green[mask].mean()), float(blue[mask].mean())) if mask.any() else None
    return TissueMask(mask=mask, pen=pen, mpp=mpp, stain_od=stain)


def glass_color(image: UInt8) -> UInt8:
    """Color of the empty glass of a slide, uint8[3]: the median of the brightest pixels that no dye has colored.

    Pure white is left out (readers pad with it). With less than 1 % of glass in the picture it is taken to be nearly
    white.
    """
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / 250_000)))
    pixels = image[::step, ::step].reshape(-1, 3).astype(np.int16)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    tint = (pixels[:, 0] + pixels[:, 2]) // 2 - pixels[:, 1]  # magenta: what dyes do, and glass hardly does
    plain = pixels[(high >= 130) & (low < 253) & (high - low <= 45) & (tint <= 10)]
    if len(plain) < 0.01 * len(pixels):
        return np.full(3, WHITE, np.uint8)
    brightness = plain.sum(axis=1)
    bright = plain[brightness >= np.percentile(brightness, 95) - 24]
    color: UInt8 = np.median(bright, axis=0).astype(np.uint8)
    return color


def _find_pen(red: Float32, green: Float32, blue: Float32, excess: Float32, black: Bool, mpp: float) -> Bool:
    """bool[h w]: marker in green or blue, red, and black.

    `red, green, blue, excess`: optical densities and the green excess, `black`: what is nearly black. Each color has a
    strict rule for its seeds and a loose one for what is connected to them, measured against the slide's own stain.
    """
    stained = (excess > 0.05) & (red < 0.8 * green)
    red_share, blue_share = 0.4, 0.6
    if stained.any():
        red_share, blue_share = (float(np.median(od[stained] / green[stained])) for od in (red, blue))
    # Blue and green inks absorb red most; over tissue the dyes' green absorption nearly evens it out.
    cool = red - green > 0.1
    cool_weak = (red - green > 0.02) | ((red > 0.95 * green) & (green > 0.3))
    # Red ink absorbs blue as it does green; in stained tissue blue/green is 0.5 to 0.7, in blood 0.7 to 0.85, but blood
    # is never as dense as a full stroke.
    dense = green > 0.65
    warm = (blue > np.where(dense, 0.8, 0.86) * green) & (red < 0.35 * green) & (green > 0.2)
    warm_weak = (blue > min(0.8, blue_share + 0.05) * green) & (red < 0.6 * red_share * green) & (green > 0.06)
    warm_weak |= dense & (blue > 0.7 * green) & (red < 0.25 * green)
    # Black ink is nearly black where the pen rested; elsewhere it is gray over what lies below.
    grey = (np.minimum(red, blue) > 0.6 * green) & (green > 0.3)
    dark = black | (grey & (red + green + blue > 1.8))
    pen = np.zeros(red.shape, bool)
    for strict, loose, min_mm2 in (
        (cool, cool_weak, MIN_PEN_MM2),
        (warm, warm | warm_weak, MIN_PEN_MM2),
        (dark, black | grey, MIN_BLACK_PEN_MM2),
    ):
        seeds = _solid(strict, mpp) & strict
        if seeds.any():
            pen |= _objects(_solid(loose, mpp), min_mm2, mpp, seeds=seeds)
    return _filled(pen, MAX_PEN_HOLE_MM2, mpp) if pen.any() else pen


def _solid(mask: Bool, mpp: float) -> Bool:
    """Pixels most of whose neighborhood, PEN_WIDTH_UM wide, is set: an opening that tolerates gaps."""
    if not mask.any():
        return mask
    return _smooth(mask.astype(np.float32), PEN_WIDTH_UM / mpp) > 0.55


def _smooth(values: Float32, width: float) -> Float32:
    """Mean over a square `width` pixels wide, rounded to an odd number."""
    size = 2 * round((width - 1) / 2) + 1
    return ndi.uniform_filter(values, size, mode="nearest") if size > 1 else values


def _objects(mask: Bool, min_mm2: float, mpp: float, seeds: Bool | None = None) -> Bool:
    """The connected objects of `mask` that are at least `min_mm2` large and, where seeds are given, contain one."""
    labels, _ = ndi.label(mask, structure=np.ones((3, 3)))
    keep = np.bincount(labels.ravel()) * (mpp / 1000) ** 2 >= min_mm2
    if seeds is not None:
        keep &= np.bincount(labels[seeds], minlength=len(keep)) > 0
    keep[0] = False
    objects: Bool = keep[labels]
    return objects


def _filled(mask: Bool, max_mm2: float, mpp: float) -> Bool:
    """`mask` without holes smaller than `max_mm2`."""
    return ~_objects(~mask, max_mm2, mpp)


def _touching_edge(mask: Bool) -> Bool:
    """The connected objects of `mask` that reach the picture's edge."""
    edge = np.zeros(mask.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    return _objects(mask, 0.0, 1.0, seeds=edge & mask)
