"""From network maps to cells: markers, watershed, size filter, class; runs in worker processes, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from kras_plugins import Tile, TileCells
from kras_profiler_cells.morphometry import measure
from kras_profiler_cells.nuclei import FRAME, Nuclei, nuclei_at
from kras_profiler_cells.outlines import outlines
from kras_profiler_cells.runs import components, pixels_of, runs_of
from kras_profiler_cells.stain import hematoxylin

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, Int32
    from kras_profiler_cells.runs import Index

    Rectangle = tuple[tuple[float, float], tuple[float, float]]

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
        nuclei = self.nuclei(nucleus, outputs, tile.mpp, tile.wanted)
        columns = measure(nuclei, hematoxylin(nuclei.of(tile.pixels)), nuclei.of(nucleus), tile.mpp)
        x, y = columns.pop("x"), columns.pop("y")
        return TileCells(
            x=x,
            y=y,
            classes=classify(nuclei, kinds, self.words, self.min_class_prob),
            columns=columns,
            outlines=list(outlines(nuclei, x, y)),
        )

    def nuclei(
        self, nucleus: Float32, outputs: Mapping[str, npt.NDArray[Any]], mpp: float, wanted: Rectangle | None = None
    ) -> Nuclei:
        """The nuclei of one tile that are of the right size and sure enough; see Tile for `wanted`."""
        mask = fill(opened(nucleus > 0.5))
        if "distance" in outputs:
            at, label = flood_cores(mask, np.asarray(outputs["distance"], dtype=np.float32), mpp)
        else:
            at, label = flood_hover(mask, np.asarray(outputs["hv"], dtype=np.float32), mpp)
        good = keep(label, nucleus.ravel()[at], mpp, (self.min_area_um2, self.max_area_um2), self.min_prob)
        if wanted is not None:
            good &= lie_in(wanted, label, at, mask.shape[1])
        kept = np.where(good, np.cumsum(good), 0).astype(np.int32)[label]
        return nuclei_at(at[kept > 0], kept[kept > 0], mask.shape)

    def segment(self, nucleus: Float32, outputs: Mapping[str, npt.NDArray[Any]], mpp: float) -> Int32:
        """Label map int32[h w] of nuclei, 0 outside, labels 1..n without gaps."""
        return self.nuclei(nucleus, outputs, mpp).labels[FRAME:-FRAME, FRAME:-FRAME]


def opened(mask: Bool) -> Bool:
    """Binary opening of bool[h w] by a cross, as scipy's, in a tenth of its time; outside of the image is False."""
    padded = np.pad(mask, 2)
    core = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    out: Bool = core[1:-1, 1:-1] | core[:-2, 1:-1] | core[2:, 1:-1] | core[1:-1, :-2] | core[1:-1, 2:]
    return out


def fill(mask: Bool) -> Bool:
    """Fill the holes of bool[h w]: background that does not reach the border of the image."""
    framed = np.pad(mask, 1)
    starts, stops = runs_of(framed)
    # Gaps between runs, the first before all: those at the end of a row go on at the beginning of the next.
    begins, ends = np.append(0, stops), np.append(starts, framed.size)
    gap, _ = components(begins, ends, framed.shape[1])
    hole = gap != gap[0]
    framed.ravel()[pixels_of(begins[hole], ends[hole])] = True
    return framed[1:-1, 1:-1]


def flood_cores(mask: Bool, distance: Float32, mpp: float) -> tuple[Index, Int32]:
    """Split `mask` bool[h w] into nuclei: each connected core of `distance` float32[h w] floods its basin.

    Returns the flat positions int64[pixel] of the mask in reading order and the nucleus int32[pixel] of each, 0 for
    none. Where a piece of the mask holds one core it is that nucleus; only pieces with several need a watershed.
    """
    framed = np.pad(mask, 1)
    width = framed.shape[1]
    starts, stops = runs_of(framed)
    piece, n_pieces = components(starts, stops, width)
    at, piece = pixels_of(starts, stops), np.repeat(piece, stops - starts)
    rows, cols = np.divmod(at.astype(np.int32), np.int32(width))
    inner = (rows - 1).astype(np.intp) * mask.shape[1] + (cols - 1)
    depth = distance.ravel()[inner]
    markers = _cores(at, depth > CORE, width, mpp)
    n = int(markers.max(initial=0))
    piece_of = np.zeros(n + 1, np.int64)
    piece_of[markers] = piece
    cores = np.bincount(piece_of[1:], minlength=n_pieces)
    core_of = np.zeros(n_pieces, np.int32)
    core_of[piece_of[1:]] = np.arange(1, n + 1)
    found = core_of[piece]
    shared = np.flatnonzero((cores > 1)[piece])
    if len(shared):
        found[shared] = _watershed(rows[shared], cols[shared], piece[shared], -depth[shared], markers[shared])
    return inner, found


def _cores(at: Index, deep: Bool, width: int, mpp: float) -> Int32:
    """int32[pixel]: the core 1..n of each pixel of the mask at flat positions `at`, 0 where it is in none."""
    # Runs of pixels that are deep and follow one upon another.
    joined = np.zeros(len(at) + 1, np.bool_)
    joined[1:-1] = (np.diff(at) == 1) & deep[1:] & deep[:-1]
    first, last = np.flatnonzero(deep & ~joined[:-1]), np.flatnonzero(deep & ~joined[1:])
    core, n = components(at[first], at[last] + 1, width)
    length = last + 1 - first
    large = np.bincount(core, weights=length, minlength=n) * mpp * mpp >= CORE_UM2
    markers = np.zeros(len(at), np.int32)
    markers[deep] = np.repeat(np.where(large, np.cumsum(large), 0).astype(np.int32)[core], length)
    return markers


def _watershed(rows: Int32, cols: Int32, piece: Int32, height: Float32, markers: Int32) -> Int32:
    """scikit-image's watershed of pixels [pixel] of pieces that do not touch, in reading order; the label of each.

    The pieces are put below each other on a canvas of their own, so that what lies between them costs no time.
    """
    # Pieces anew from 0, in the order of their numbers.
    there = np.bincount(piece) > 0
    piece, n = (np.cumsum(there) - 1)[piece].astype(np.int32), int(there.sum())
    top, bottom, left = np.full(n, rows[-1]), np.zeros(n, np.int32), np.full(n, cols.max())
    np.minimum.at(top, piece, rows)
    np.maximum.at(bottom, piece, rows)
    np.minimum.at(left, piece, cols)
    tall = bottom - top + 2
    width = int((cols - left[piece]).max()) + 3
    flat = (rows - (top - np.cumsum(tall) + tall)[piece] + 1) * width + cols - left[piece] + 1
    shape = (int(tall.sum()) + 2, width)
    image, seeds, mask = np.zeros(shape, np.float32), np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
    image.ravel()[flat], seeds.ravel()[flat] = height, markers
    # What lies within a core has nothing to flood: it stays out of the queue.
    rim = markers == 0
    for step in (1, -1, width, -width):
        rim |= seeds.ravel()[flat + step] == 0
    mask.ravel()[flat[rim]] = True
    flooded = watershed(image, seeds, mask=mask).ravel()[flat]
    return np.where(markers > 0, markers, flooded).astype(np.int32)


def flood_hover(mask: Bool, hv: Float32, mpp: float) -> tuple[Index, Int32]:
    """Split `mask` bool[h w] into nuclei by HoVer maps `hv` float32[2 h w]; returns what `flood_cores` does.

    The maps run from -1 at the left (top) edge of a nucleus to 1 at its right (bottom) edge, so that they fall steeply
    where one nucleus ends and the next begins (Graham et al., Med Image Anal 2019;58:101563). Markers are what is left
    of the mask without the steep falls; own code, with derivatives of Gaussians in place of wide Sobel filters.
    """
    sigma = HOVER_SMOOTH_UM / mpp
    falls = [np.maximum(-ndimage.gaussian_filter1d(hv[i], sigma, axis=1 - i, order=1), 0) for i in (0, 1)]
    edge = np.maximum(*(fall / max(float(fall[mask].max(initial=0)), 1e-6) for fall in falls))
    markers, _ = ndimage.label(ndimage.binary_opening(mask & (edge < HOVER_EDGE)))
    energy = -ndimage.gaussian_filter((1 - edge) * mask, sigma)
    at = np.flatnonzero(mask)
    return at, watershed(energy, markers, mask=mask).ravel()[at].astype(np.int32)


def keep(label: Int32, nucleus: Float32, mpp: float, um2: tuple[float, float], min_prob: float) -> Bool:
    """bool[label]: which nuclei of `label` int32[pixel], 0 for none, have a size within `um2` and a mean of `nucleus`
    float32[pixel] of at least `min_prob`."""
    size = np.bincount(label)
    strength = np.bincount(label, weights=nucleus) / np.maximum(size, 1)
    area = size * mpp * mpp
    kept = (size > 0) & (area >= um2[0]) & (area <= um2[1]) & (strength >= min_prob)
    kept[:1] = False
    return kept


def lie_in(rectangle: Rectangle, label: Int32, at: Index, width: int) -> Bool:
    """bool[label]: which nuclei of `label` int32[pixel], at flat positions `at` of an image of `width`, have their
    centroid in a rectangle (x, y) to (x, y)."""
    size = np.maximum(np.bincount(label), 1)
    rows, cols = np.divmod(at.astype(np.int32), np.int32(width))
    inside = np.ones(len(size), np.bool_)
    for axis, position in enumerate((cols, rows)):
        mean = np.bincount(label, weights=position) / size
        inside &= (mean >= rectangle[0][axis]) & (mean <= rectangle[1][axis])
    return inside


def classify(nuclei: Nuclei, kinds: Float32, words: Sequence[str], least: float) -> list[str]:
    """The class of each nucleus: the largest mean of `kinds` float32[class h/k w/k] inside it.

    Channels of one word add up; BACKGROUND does not count and the rest is scaled to one. Below `least` it is `other`.
    """
    named = sorted(set(words) - {BACKGROUND})
    mean = class_means(nuclei, kinds)
    share = np.stack([mean[:, [w == name for w in words]].sum(1) for name in named], axis=1)
    share /= np.maximum(share.sum(1, keepdims=True), 1e-9)
    best = share.argmax(1)
    sure = share[np.arange(len(best)), best] >= least
    return [named[b] if s else "other" for b, s in zip(best.tolist(), sure.tolist(), strict=True)]


def class_means(nuclei: Nuclei, kinds: Float32) -> Float64:
    """float64[nucleus class]: mean of each map of `kinds` float32[class h/k w/k] over each nucleus."""
    step = (nuclei.labels.shape[0] - 2 * FRAME) // kinds.shape[1]
    return np.stack([nuclei.sums(nuclei.of(plane, step)) / nuclei.size for plane in kinds], axis=1)
