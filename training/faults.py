"""Which nuclei are missed, merged and split: recall by size and contrast, and both faults separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from training.fields import Field, densities
from training.metrics import overlap, pair

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64, Int32

AREAS_UM2 = (20.0, 40.0, 80.0)
CONTRASTS = (0.15, 0.3, 0.5)
"""Borders of the groups of nuclei for which recall is given; contrasts are natural optical densities."""
RING_UM = 2.5
_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Nuclei:
    """What happened to each true nucleus of some fields.

    `area_um2`, `contrast` float64[nucleus] (see `contrast_of`); `found`: it has a partner of IoU > 0.5; `merged`: one
    found nucleus covers half of it and half of another one; `split`: two or more found nuclei lie in it by half of
    themselves and together cover half of it.
    """

    area_um2: Float64
    contrast: Float64
    found: Bool
    merged: Bool
    split: Bool


def nuclei_of(field: Field, found: Int32) -> Nuclei:
    """What happened to each nucleus of an outlined field, for which `found` int32[h w] was predicted."""
    areas = overlap(field.labels, found)
    common, truth, mine = areas.common[1:, 1:], areas.truth, areas.found
    there = truth > 0
    covers = common >= _SHARE * np.maximum(truth, 1)[:, None]
    within = common >= _SHARE * np.maximum(mine, 1)[None, :]
    several = covers[there].sum(0) > 1
    partner = np.zeros(len(truth), bool)
    partner[pair(areas).truth - 1] = True
    parts = np.where(within, common, 0)
    split = (within & (common > 0)).sum(1) > 1
    split &= parts.sum(1) >= _SHARE * truth
    return Nuclei(
        area_um2=truth[there] * field.mpp**2,
        contrast=contrast_of(field)[there],
        found=partner[there],
        merged=(covers[:, several].any(1) if several.any() else np.zeros(len(truth), bool))[there],
        split=split[there],
    )


def contrast_of(field: Field) -> Float64:
    """How much denser each nucleus is than the ring of 2.5 µm around it, float64[label], NaN without either.

    Mean over red, green and blue of optical densities, natural logarithm.
    """
    od = densities(field.pixels).mean(2)
    steps = max(1, round(RING_UM / field.mpp))
    away, nearest = ndimage.distance_transform_edt(field.labels == 0, return_indices=True)
    ring = np.where((away > 0) & (away <= steps), field.labels[tuple(nearest)], 0)
    numbers = np.arange(1, int(field.labels.max(initial=0)) + 1)
    if not len(numbers):
        return np.zeros(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        inner, outer = (_means(od, labels, len(numbers)) for labels in (field.labels, ring))
    return inner - outer


def _means(values: Float64, labels: Int32, n: int) -> Float64:
    count = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    total = np.bincount(labels.ravel(), weights=values.ravel(), minlength=n + 1)[1:]
    return np.asarray(total / np.where(count > 0, count, np.nan))


def faults(several: Sequence[Nuclei]) -> dict[str, dict[str, tuple[int, float]]]:
    """(how many nuclei, which share) by name: recall by area and contrast, shares merged and split."""
    area, contrast, found, merged, split = (
        np.concatenate([getattr(n, name) for n in several])
        for name in ("area_um2", "contrast", "found", "merged", "split")
    )
    return {
        "recall by area (µm²)": _by(area, AREAS_UM2, found),
        "recall by contrast": _by(contrast, CONTRASTS, found),
        "merged": {"all": (len(merged), float(merged.mean()))} if len(merged) else {},
        "split": {"all": (len(split), float(split.mean()))} if len(split) else {},
    }


def _by(values: Float64, borders: Sequence[float], found: Bool) -> dict[str, tuple[int, float]]:
    edges = [-np.inf, *borders, np.inf]
    out = {}
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        name = (
            f"below {high:g}" if low == -np.inf else f"{low:g} and more" if high == np.inf else f"{low:g} to {high:g}"
        )
        if inside.any():
            out[name] = (int(inside.sum()), float(found[inside].mean()))
    return out
