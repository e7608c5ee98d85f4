"""From network maps to cells: markers, watershed, size filter, class; runs in worker processes, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from kras_plugins import Tile, TileCells
from kras_profiler_cells.morphometry import measure, outlines, pixels_of
from kras_profiler_cells.stain import hematoxylin

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, Int32

CORE = 0.4
"""A pixel deeper in its nucleus than this (of 1) is in the nucleus' core: cores of neighbors are apart."""
CORE_UM2 = 1.25
"""Smaller cores are noise. Both were chosen on the training side (training/cells.py), as was the default `min_prob`."""
HOVER_SMOOTH_UM = 1.0
HOVER_EDGE = 0.4
"""Where a HoVer map falls this steeply (of its steepest fall in the tile) lies a border between two nuclei."""
BACKGROUND = "background"


@dataclass(frozen=True)
class Decode:
    """Turns the maps of one tile into cells; picklable.

    `min_area_um2`, `max_area_um2`: nuclei outside are dropped, as are those whose mean probability of being a nucleus
    is below `min_prob`. `words`: the class of each channel of `classes`, BACKGROUND for what is no nucleus; a nucleus
    whose likeliest class has a probability below `min_class_prob` is `other`.

    Maps (float32): `nucleus` [h w], or `classes` with a background channel; `distance` [h w] or `hv` [2 h w];
    `classes` [class h/k w/k] for a whole k. Coordinates of the result are pixel centers in the tile: the first pixel is
    (0, 0), halo included.
    """

    min_area_um2: float
    max_area_um2: float
    min_prob: float
    min_class_prob: float
    words: tuple[str, ...]

    def __call__(self, outputs: Mapping[str, npt.NDArray[Any]], tile: Tile) -> TileCells:
        """Cells of one tile with all columns but the coordinates the host adds."""
        kinds = np.asarray(outputs["classes"], dtype=np.float32)
        if "nucleus" in outputs:
            nucleus = np.asarray(outputs["nucleus"], dtype=np.float32)
        else:
            nucleus = 1 - kinds[self.words.index(BACKGROUND)]
        labels = self.segment(nucleus, outputs, tile.mpp)
        columns = measure(labels, hematoxylin(tile.pixels), nucleus, tile.mpp)
        x, y = columns.pop("x"), columns.pop("y")
        return TileCells(
            x=x,
            y=y,
            classes=classify(labels, kinds, self.words, self.min_class_prob),
            columns=columns,
            outlines=list(outlines(labels, x, y)),
        )

    def segment(self, nucleus: Float32, outputs: Mapping[str, npt.NDArray[Any]], mpp: float) -> Int32:
        """Label map int32[h w] of nuclei, 0 outside, labels 1..n without gaps."""
        mask = fill(opened(nucleus > 0.5))
        if "distance" in outputs:
            labels = flood_cores(mask, np.asarray(outputs["distance"], dtype=np.float32), mpp)
        else:
            labels = flood_hover(mask, np.asarray(outputs["hv"], dtype=np.float32), mpp)
        return keep(labels, nucleus, mpp, (self.min_area_um2, self.max_area_um2), self.min_prob)


def opened(mask: Bool) -> Bool:
    """Binary opening of bool[h w] by a cross, as scipy's, in a tenth of its time; outside of the image is False."""
    padded = np.pad(mask, 2)
    core = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    out: Bool = core[1:-1, 1:-1] | core[:-2, 1:-1] | core[2:, 1:-1] | core[1:-1, :-2] | core[1:-1, 2:]
    return out


def fill(mask: Bool) -> Bool:
    """Fill the holes of bool[h w]: background that does not reach the border of the image."""
    background, n = ndimage.label(~mask)
    outside = np.zeros(n + 1, bool)
    for edge in (background[0], background[-1], background[:, 0], background[:, -1]):
        outside[edge] = True
    outside[0] = False
    out: Bool = ~outside[background]
    return out


def cores_of(mask: Bool, distance: Float32, mpp: float) -> tuple[Int32, int]:
    """(label map int32[h w], number) of the connected cores of `distance` that are large enough."""
    cores, n = ndimage.label(mask & (distance > CORE))
    large = np.bincount(cores.ravel(), minlength=n + 1) * mpp * mpp >= CORE_UM2
    large[0] = False
    return np.where(large, np.cumsum(large), 0).astype(np.int32)[cores], int(large.sum())


def flood_cores(mask: Bool, distance: Float32, mpp: float) -> Int32:
    """Split `mask` bool[h w] into nuclei: each connected core of `distance` float32[h w] floods its basin.

    Where a piece of the mask holds one core it is that nucleus; only pieces with several need a watershed.
    """
    markers, n = cores_of(mask, distance, mpp)
    pieces, n_pieces = ndimage.label(mask)
    at = np.flatnonzero(markers)
    piece_of = np.zeros(n + 1, np.int64)
    piece_of[markers.ravel()[at]] = pieces.ravel()[at]
    cores = np.bincount(piece_of[1:], minlength=n_pieces + 1)
    core_of = np.zeros(n_pieces + 1, np.int32)
    core_of[piece_of[1:]] = np.arange(1, n + 1)
    core_of[cores > 1] = 0
    labels: Int32 = core_of[pieces]
    if np.any(cores > 1):
        shared = (cores > 1)[pieces]
        labels = np.where(shared, watershed(-distance, np.where(shared, markers, 0), mask=shared), labels)
    return labels.astype(np.int32)


def flood_hover(mask: Bool, hv: Float32, mpp: float) -> Int32:
    """Split `mask` bool[h w] into nuclei by HoVer maps `hv` float32[2 h w].

    The maps run from -1 at the left (top) edge of a nucleus to 1 at its right (bottom) edge, so that they fall steeply
    where one nucleus ends and the next begins (Graham et al., Med Image Anal 2019;58:101563). Markers are what is left
    of the mask without the steep falls; own code, with derivatives of Gaussians in place of wide Sobel filters.
    """
    sigma = HOVER_SMOOTH_UM / mpp
    falls = [np.maximum(-ndimage.gaussian_filter1d(hv[i], sigma, axis=1 - i, order=1), 0) for i in (0, 1)]
    edge = np.maximum(*(fall / max(float(fall[mask].max(initial=0)), 1e-6) for fall in falls))
    markers, _ = ndimage.label(ndimage.binary_opening(mask & (edge < HOVER_EDGE)))
    energy = -ndimage.gaussian_filter((1 - edge) * mask, sigma)
    return np.asarray(watershed(energy, markers, mask=mask), dtype=np.int32)


def keep(labels: Int32, nucleus: Float32, mpp: float, um2: tuple[float, float], min_prob: float) -> Int32:
    """The labels of a size within `um2` and a mean of `nucleus` of at least `min_prob`, renumbered 1..n."""
    size = np.bincount(labels.ravel())
    strength = np.bincount(labels.ravel(), weights=nucleus.ravel()) / np.maximum(size, 1)
    area = size * mpp * mpp
    kept = (area >= um2[0]) & (area <= um2[1]) & (strength >= min_prob)
    kept[0] = False
    return np.asarray(np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels])


def classify(labels: Int32, kinds: Float32, words: Sequence[str], least: float) -> list[str]:
    """The class of each nucleus of `labels` int32[h w]: the largest mean of `kinds` float32[class h/k w/k] inside it.

    Channels of one word add up; BACKGROUND does not count and the rest is scaled to one. Below `least` it is `other`.
    """
    named = sorted(set(words) - {BACKGROUND})
    mean = class_means(labels, kinds)
    share = np.stack([mean[:, [w == name for w in words]].sum(1) for name in named], axis=1)
    share /= np.maximum(share.sum(1, keepdims=True), 1e-9)
    best = share.argmax(1)
    sure = share[np.arange(len(best)), best] >= least
    return [named[b] if s else "other" for b, s in zip(best.tolist(), sure.tolist(), strict=True)]


def class_means(labels: Int32, kinds: Float32) -> Float64:
    """float64[nucleus class]: mean of each map of `kinds` float32[class h/k w/k] over each nucleus."""
    step = labels.shape[0] // kinds.shape[1]
    rows, cols, cell = pixels_of(labels)
    n = int(cell.max(initial=-1)) + 1
    size = np.maximum(np.bincount(cell, minlength=n), 1)
    inside = kinds[:, rows // step, cols // step]
    means = np.stack([np.bincount(cell, weights=plane, minlength=n) / size for plane in inside], axis=1)
    return np.asarray(means, dtype=np.float64)
