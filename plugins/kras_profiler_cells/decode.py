"""From network maps to cells: markers, watershed, size filter, class; runs in worker processes, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins import PluginError, Tile, TileCells
from kras_plugins.host.compiled import compiled
from kras_profiler_cells import TOP
from kras_profiler_cells.flooding import flood_cores
from kras_profiler_cells.maps import in_bytes, opposite, plain
from kras_profiler_cells.morphometry import measure
from kras_profiler_cells.nuclei import Nuclei, chosen, nuclei_in, stretches, sums, tally
from kras_profiler_cells.outlines import outlines
from kras_profiler_cells.runs import FRAME, filled, opened_runs
from kras_profiler_cells.stain import hematoxylin_at

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Int32, UInt8
    from kras_profiler_cells.runs import Index

    Rectangle = tuple[tuple[float, float], tuple[float, float]]

HOVER_SMOOTH_UM = 1.0
HOVER_EDGE = 0.4
"""A border between two nuclei lies where a HoVer map falls this steeply (share of its steepest fall in the tile)."""
BACKGROUND = "background"


@dataclass(frozen=True)
class Decode:
    """Turns the maps of one tile into cells; picklable.

    `min_area_um2`, `max_area_um2`: nuclei outside this range are dropped, as are those whose mean probability of being
    a nucleus is below `min_prob`. `words`: the class of each channel of `classes`, BACKGROUND for anything else. A
    nucleus whose likeliest class has a probability below `min_class_prob` is `other`, as is one in tissue that is
    unlike training by more than `max_unlike`.

    Maps: `nucleus` [h w], or `classes` with a background channel; `distance` [h w] or `hv` [2 h w]; `classes`
    [class h/k w/k] for an integer k, as for `unlike` [h/k w/k], which may be missing. All are float32 or, except `hv`,
    uint8 (see `maps.in_bytes`), in which they are processed. Coordinates of the result are pixel centers in the tile:
    the first pixel is (0, 0), halo included.
    """

    min_area_um2: float
    max_area_um2: float
    min_prob: float
    min_class_prob: float
    words: tuple[str, ...]
    max_unlike: float = 1.0

    def __call__(self, outputs: Mapping[str, npt.NDArray[Any]], tile: Tile) -> TileCells:
        """Cells of one tile with all columns except coordinates that the host adds; PluginError for wrong map sizes."""
        _check_shapes(outputs, tile.pixels.shape[:2], len(self.words))
        kinds, nucleus = in_bytes(outputs["classes"]), self.nucleus(outputs)
        nuclei, prob = self.nuclei(nucleus, outputs, tile.mpp, tile.wanted)
        columns = measure(nuclei, hematoxylin_at(nuclei, plain(tile.pixels, np.uint8)), tile.mpp)
        x, y = columns.pop("x"), columns.pop("y")
        classes, unlike = classify(sums(nuclei, kinds), self.words, self.min_class_prob), self.unlike(outputs)
        if unlike is not None and unlike.any():
            step = nucleus.shape[0] // unlike.shape[0]
            strange = unlike[(y + 0.5).astype(np.int64) // step, (x + 0.5).astype(np.int64) // step]
            classes = ["other" if s else c for s, c in zip(strange.tolist(), classes, strict=True)]
        return TileCells(
            x=x,
            y=y,
            classes=classes,
            columns={"prob": prob, **columns},
            outlines=outlines(nuclei, x, y),
            unlike=unlike,
        )

    def unlike(self, outputs: Mapping[str, npt.NDArray[Any]]) -> Bool | None:
        """Where tissue is too unlike training to be typed, bool[h/k w/k]; None if the network has no such output."""
        if "unlike" not in outputs:
            return None
        return in_bytes(outputs["unlike"]) > self.max_unlike * TOP

    def nucleus(self, outputs: Mapping[str, npt.NDArray[Any]]) -> UInt8:
        """The probability of being nucleus in 255ths, uint8[h w]."""
        if "nucleus" in outputs:
            return in_bytes(outputs["nucleus"])
        return in_bytes(opposite(outputs["classes"][self.words.index(BACKGROUND)]))

    def nuclei(
        self, nucleus: UInt8, outputs: Mapping[str, npt.NDArray[Any]], mpp: float, wanted: Rectangle | None = None
    ) -> tuple[Nuclei, Float32]:
        """The nuclei of one tile that have the right size and are certain enough, and how certain, float32[nucleus].

        See Tile for `wanted`.
        """
        h, w = nucleus.shape
        starts, stops = filled(*opened_runs(nucleus, TOP // 2), h + 2 * FRAME, w + 2 * FRAME)
        if "distance" in outputs:
            labels = flood_cores(starts, stops, in_bytes(outputs["distance"]), mpp)
        else:
            labels = flood_hover(starts, stops, plain(outputs["hv"]), mpp)
        starts, stops = stretches(labels, starts, stops)
        of_labels = tally(labels, starts, stops, nucleus, int(labels.max()))
        areas = self.min_area_um2 / (mpp * mpp), self.max_area_um2 / (mpp * mpp)
        (left, top), (right, bottom) = wanted or ((0.0, 0.0), (float(w), float(h)))
        kept = chosen(of_labels, areas, self.min_prob * TOP, (left, right), (top, bottom))
        nuclei = nuclei_in(labels, starts, stops, of_labels[0], kept)
        return nuclei, (of_labels[3, kept] / (TOP * nuclei.size)).astype(np.float32)

    def segment(self, outputs: Mapping[str, npt.NDArray[Any]], mpp: float) -> Int32:
        """Label map int32[h w] of nuclei, 0 outside, labels 1..n without gaps."""
        return self.nuclei(self.nucleus(outputs), outputs, mpp)[0].map()


def _check_shapes(outputs: Mapping[str, npt.NDArray[Any]], tile: tuple[int, ...], n_words: int) -> None:
    """Raise PluginError if maps do not fit a `tile` (h w), because compiled code would read beyond their ends."""
    h, w = tile
    for name, wanted in (("nucleus", (h, w)), ("distance", (h, w)), ("hv", (2, h, w))):
        if name in outputs and outputs[name].shape != wanted:
            raise _misshapen(name, outputs[name].shape, tile)
    channels, *coarse = outputs["classes"].shape
    if channels != n_words or not _whole(coarse, tile):
        raise _misshapen("classes", outputs["classes"].shape, tile)
    if "unlike" in outputs and not _whole(outputs["unlike"].shape, tile):
        raise _misshapen("unlike", outputs["unlike"].shape, tile)


def _whole(coarse: Sequence[int], tile: Sequence[int]) -> bool:
    """Whether a map of this shape has one pixel for each k x k pixels of the tile, for an integer k."""
    step = tile[0] // max(coarse[0], 1) if len(coarse) == 2 else 0
    return step >= 1 and (coarse[0] * step, coarse[1] * step) == (tile[0], tile[1])


def _misshapen(name: str, shape: tuple[int, ...], tile: tuple[int, ...]) -> PluginError:
    return PluginError(
        f"{name} is {' x '.join(map(str, shape))} for a tile of {tile[0]} x {tile[1]}",
        "docs/models/cells.md says which shapes a network's outputs have",
    )


def flood_hover(starts: Index, stops: Index, hv: Float32, mpp: float) -> Int32:
    """Nuclei by HoVer maps `hv` float32[2 h w]: what `flood_cores` returns, from the same runs of the mask.

    The maps run from -1 at the left (top) edge of a nucleus to 1 at its right (bottom) edge, so that they fall steeply
    where one nucleus ends and the next begins (Graham et al., Med Image Anal 2019;58:101563). Markers are the mask
    without the steep falls. Own code, with derivatives of Gaussians instead of wide Sobel filters.
    """
    # This takes a second to import, and only foreign models need it.
    from scipy import ndimage
    from skimage.segmentation import watershed

    framed = np.zeros((hv.shape[1] + 2 * FRAME, hv.shape[2] + 2 * FRAME), np.bool_)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        framed.ravel()[start:stop] = True
    mask = framed[FRAME:-FRAME, FRAME:-FRAME]
    sigma = HOVER_SMOOTH_UM / mpp
    falls = [np.maximum(-ndimage.gaussian_filter1d(hv[i], sigma, axis=1 - i, order=1), 0) for i in (0, 1)]
    edge = np.maximum(*(fall / max(float(fall[mask].max(initial=0)), 1e-6) for fall in falls))
    markers, _ = ndimage.label(ndimage.binary_opening(mask & (edge < HOVER_EDGE)))
    energy = -ndimage.gaussian_filter((1 - edge) * mask, sigma)
    return np.pad(watershed(energy, markers, mask=mask).astype(np.int32), FRAME)


def classify(sums: Index, words: Sequence[str], least: float) -> list[str]:
    """The class of each nucleus: the largest of the `sums` int64[nucleus channel] of probabilities inside it.

    Channels of one class add up; BACKGROUND does not count and the rest is scaled to one. Below `least` it is `other`.
    """
    named = [*sorted({*words} - {BACKGROUND}), "other"]
    if len(named) == 1:
        return named * len(sums)
    word_of = np.array([-1 if word == BACKGROUND else named.index(word) for word in words])
    return [named[i] for i in _likeliest(sums, word_of, len(named) - 1, least).tolist()]


@compiled("int64[::1](int64[:, ::1], int64[::1], int64, float64)")
def _likeliest(sums: Index, word_of: Index, n_words: int, least: float) -> Index:
    """The word of each nucleus; `n_words` where none is certain. `word_of`: that of each channel, -1 for none."""
    found, share = np.empty(len(sums), np.int64), np.empty(n_words, np.int64)
    for nucleus in range(len(sums)):
        share[:] = 0
        for channel in range(len(word_of)):
            if word_of[channel] >= 0:
                share[word_of[channel]] += sums[nucleus, channel]
        best, total = np.argmax(share), max(np.sum(share), 1)
        found[nucleus] = best if share[best] / total >= least else n_words
    return found
