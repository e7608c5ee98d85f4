"""Group N: growth patterns and other traits that go with KRAS mutations, where a source gives them."""

from __future__ import annotations

import math

import numpy as np

from kras_plugins.data import GROWTH_PATTERNS
from kras_plugins.semantics.raster import pixels_of
from kras_plugins.semantics.view import View, ratio

MIN_PATTERN_MM2 = 0.1
LARGE = 4.0
"""A tumor nucleus of four times a lymphocyte's area, twice its diameter, counts as atypical."""


def patterns(view: View) -> dict[str, float]:
    """Group N of docs/reference/definitions.md; NaN without growth patterns. No map provides `p_luad`."""
    shares = pattern_shares(view)
    entropy = -sum(p * math.log2(p) for p in shares.values() if p > 0)
    return {
        "p_luad": math.nan,
        "solid_share": shares["solid"],
        "mucinous_share": shares["mucinous"],
        "lepidic_papillary_share": shares["lepidic"] + shares["papillary"],
        "pattern_entropy": math.nan if math.isnan(shares["solid"]) else entropy,
        "necrosis_atypia": (_necrosis(view) + _atypia(view)) / 2,
    }


def pattern_shares(view: View) -> dict[str, float]:
    """Share of each pattern in the tumor area that has one; NaN under 0.1 mm² of patterns."""
    names, raster = GROWTH_PATTERNS[1:], view.semantic.pattern
    if raster is None:
        return dict.fromkeys(names, math.nan)
    pixels = pixels_of(np.where(view.ta_pixels, raster, np.uint8(0)), 256)[1 : len(GROWTH_PATTERNS)]
    total = int(pixels.sum())
    if total * view.raster.pixel_mm2 < MIN_PATTERN_MM2:
        return dict.fromkeys(names, math.nan)
    return {name: float(n) / total for name, n in zip(names, pixels.tolist(), strict=True)}


def _necrosis(view: View) -> float:
    necrosis = view.area("necrosis")
    return ratio(necrosis, view.area_ta + necrosis)


def _atypia(view: View) -> float:
    """Share of tumor nuclei in epithelium much larger than the slide's lymphocytes: independent of scanner and mpp."""
    area = view.column_of("area_um2")
    tumor, lymphocytes = area[view.tumor & view.in_ce], area[view.lymphocyte & view.in_ta]
    tumor, lymphocytes = tumor[~np.isnan(tumor)], lymphocytes[~np.isnan(lymphocytes)]
    if not len(tumor) or not len(lymphocytes):
        return math.nan
    return float(np.mean(tumor > LARGE * np.median(lymphocytes)))
