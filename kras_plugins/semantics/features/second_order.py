"""Group F: how many cells lie at which distance from each other, against complete spatial randomness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from kras_plugins.semantics.raster import Raster
from kras_plugins.semantics.view import View

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float32, Float64

STEP_UM = 5.0
RIPLEY_UM = (25.0, 50.0, 100.0)
PCF_UM = (20.0, 50.0, 100.0, 200.0)
SCALES_UM = tuple(float(r) for r in range(10, 201, 5))
REACH_UM = 205.0
MIN_SHARE = 0.5
"""Below it more of a circle lies outside the window than inside: the correction would dominate the estimate."""
WINDOW_PIXEL_UM = 8.0
_ANGLES, _BLOCK = 64, 512


def second_order(view: View) -> dict[str, float]:
    """Group F of docs/reference/definitions.md, within the tumor area.

    L(r) - r in µm from Ripley's K with the rigid-motion edge correction (Ohser & Stoyan 1981; Baddeley, Rubak &
    Turner 2015 §7.4); pair correlations in rings of 10 µm, divided by the part of the rings in the tumor area.
    """
    window = Window.of(view.ta_pixels, view.raster)
    tumor, lymphocytes = (Points.of(view.xy[kind & view.in_ta], window) for kind in (view.tumor, view.lymphocyte))
    values = {}
    for name, a, b, reach in (
        ("tt", tumor, tumor, RIPLEY_UM[-1]),
        ("ll", lymphocytes, lymphocytes, REACH_UM),
        ("tl", tumor, lymphocytes, REACH_UM),
    ):
        pairs = pairs_by_distance(a, b, reach)
        for r in RIPLEY_UM:
            values[f"ripley_{name}_{r:.0f}"] = ripley(pairs, a, b, window, r)
        if name == "tl":
            values |= {f"pcf_tl_{r:.0f}": pair_correlation(pairs, a, b, window, r) for r in PCF_UM}
        if name == "ll":
            values["ll_scale"] = _highest([pair_correlation(pairs, a, b, window, r) for r in SCALES_UM])
    return values


def _highest(values: list[float]) -> float:
    found = np.array(values)
    return SCALES_UM[int(np.nanargmax(found))] if not np.isnan(found).all() else math.nan


@dataclass(frozen=True)
class Window:
    """An observation window: float32[h w] shares of pixels of about 8 µm, its area, and `share` as in circle_share."""

    pixels: Float32
    raster: Raster
    share: Float64

    @classmethod
    def of(cls, mask: Bool, raster: Raster) -> Window:
        """From a mask bool[h w] on `raster`, cut to what it covers."""
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        factor = max(1, round(WINDOW_PIXEL_UM / raster.mpp))
        top, left = int(rows[0]), int(columns[0])
        part = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        height, width = (-(-n // factor) for n in part.shape)
        sums: Float32 = np.add.reduceat(part, np.arange(0, part.shape[0], factor), axis=0, dtype=np.float32)
        sums = np.add.reduceat(sums, np.arange(0, part.shape[1], factor), axis=1)
        coarse = Raster(
            shape=(height, width),
            mpp=raster.mpp * factor,
            origin_um=(raster.origin_um[0] + left * raster.mpp, raster.origin_um[1] + top * raster.mpp),
        )
        pixels = sums / np.float32(factor**2)
        return cls(pixels, coarse, circle_share(pixels, pixels, coarse.mpp))

    @property
    def area_um2(self) -> float:
        """Area in µm²."""
        return float(self.pixels.sum(dtype=np.float64)) * self.raster.mpp**2


@dataclass(frozen=True)
class Points:
    """Cells of one kind: positions float64[cell 2] in µm, their tree, and the share of circles around them in the
    window as `circle_share` gives it."""

    xy: Float64
    tree: cKDTree
    share: Float64

    @classmethod
    def of(cls, xy: Float64, window: Window) -> Points:
        """From positions within the window."""
        weights = window.raster.count(xy[:, 0], xy[:, 1])
        return cls(xy, cKDTree(xy), circle_share(weights, window.pixels, window.raster.mpp))


def circle_share(weights: Float32, window: Float32, pixel_um: float) -> Float64:
    """Mean share of a circle around weighted positions that lies in the window, at r = 0, 5, ... 205 µm.

    `weights`, `window`: float32[h w] on one raster of `pixel_um`. From the cross-correlation of the two at shifts up
    to 205 µm, block by block of rows by FFT: memory depends on the raster's width alone.
    """
    reach = math.ceil(REACH_UM / pixel_um) + 1
    height, width = weights.shape
    side = 2 * reach + 1
    total = np.zeros((side, side))
    size = [fft.next_fast_len(n + 2 * reach, real=True) for n in (min(_BLOCK, height), width)]
    for start in range(0, height, _BLOCK):
        block = weights[start : start + _BLOCK]
        if not block.any():
            continue
        around = np.zeros((len(block) + 2 * reach, width), np.float32)
        low, high = max(0, start - reach), min(height, start + len(block) + reach)
        around[low - start + reach : high - start + reach] = window[low:high]
        product = np.conj(fft.rfft2(block, size)) * fft.rfft2(np.pad(around, ((0, 0), (reach, reach))), size)
        total += fft.irfft2(product, size)[:side, :side]
    r = np.arange(0.0, REACH_UM + STEP_UM / 2, STEP_UM)
    angle = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    at = np.stack([np.outer(r, np.sin(angle)), np.outer(r, np.cos(angle))]) / pixel_um + reach
    circle = ndimage.map_coordinates(total, at, order=1).mean(axis=1)
    return np.asarray(np.clip(circle / max(float(weights.sum(dtype=np.float64)), 1e-300), 0.0, 1.0))


def pairs_by_distance(a: Points, b: Points, reach_um: float) -> Float64:
    """Ordered pairs of different cells at distances in (0, 5], (5, 10], ... up to `reach_um`: float64[bin]."""
    within = a.tree.count_neighbors(b.tree, np.arange(0.0, reach_um + STEP_UM / 2, STEP_UM)).astype(np.float64)
    if a is b:
        within -= len(a.xy)
    within[0] = 0.0  # cells at one place belong to the first bin
    return np.asarray(np.diff(within))


def ripley(pairs: Float64, a: Points, b: Points, window: Window, r_um: float) -> float:
    """L(r) - r in µm: 0 at random, above where cells cluster. NaN where circles lie mostly outside."""
    bins = round(r_um / STEP_UM)
    if window.share[bins] < MIN_SHARE:
        return math.nan
    share = (window.share[:bins] + window.share[1 : bins + 1]) / 2
    expected = _expected(a, b) / window.area_um2
    return math.sqrt(float(np.sum(pairs[:bins] / share)) / expected / math.pi) - r_um if expected else math.nan


def pair_correlation(pairs: Float64, a: Points, b: Points, window: Window, r_um: float) -> float:
    """Pairs in the ring r - 5 to r + 5 µm over those expected at random: 1 independent. NaN as in `ripley`."""
    bins = round(r_um / STEP_UM)
    if window.share[bins] < MIN_SHARE:
        return math.nan
    ring = 2 * math.pi * r_um * 2 * STEP_UM * float(a.share[bins])
    expected = _expected(a, b) / window.area_um2 * ring
    return float(pairs[bins - 1 : bins + 1].sum()) / expected if expected else math.nan


def _expected(a: Points, b: Points) -> float:
    """Ordered pairs of different cells in all."""
    return float(len(a.xy)) * (len(b.xy) - (a is b))
