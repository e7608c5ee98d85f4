"""From network maps to cells: markers, watershed, size filter; runs in worker processes, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from kras_plugins import Tile, TileCells
from kras_profiler_cells.morphometry import measure, outlines
from kras_profiler_cells.stain import hematoxylin
from kras_profiler_cells.typing_rules import classify

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32, Int32

PEAK_UM = 5.5  # two centers closer than half of this are one nucleus; lymphocytes touch at 6 to 7 µm
FAINT = 0.72  # mean nucleus probability below this is blurred or out of focus, not a nucleus


@dataclass(frozen=True)
class Decode:
    """Turns `nucleus` and `distance` maps of one tile into cells; picklable.

    `min_area_um2`, `max_area_um2`: nuclei outside are dropped. Coordinates of the result are pixel centers in the
    tile: the first pixel is (0, 0), halo included.
    """

    min_area_um2: float
    max_area_um2: float

    def __call__(self, outputs: Mapping[str, npt.NDArray[Any]], tile: Tile) -> TileCells:
        """Cells of one tile with all columns but the coordinates the host adds; `outputs` float32[h w] each."""
        nucleus = np.asarray(outputs["nucleus"], dtype=np.float32)
        distance = np.asarray(outputs["distance"], dtype=np.float32)
        labels = segment(nucleus, distance, tile.mpp, self.min_area_um2, self.max_area_um2)
        columns = measure(labels, hematoxylin(tile.pixels), nucleus, tile.mpp)
        x, y = columns.pop("x"), columns.pop("y")
        return TileCells(
            x=x,
            y=y,
            classes=classify(columns),
            columns=columns,
            outlines=list(outlines(labels, x, y)),
        )


def segment(nucleus: Float32, distance: Float32, mpp: float, min_um2: float, max_um2: float) -> Int32:
    """Label map int32[h w] of nuclei, 0 outside, labels 1..n without gaps.

    The mask is `nucleus` > 0.5, opened by a pixel and filled; each peak of `distance` floods its basin.
    """
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(nucleus > 0.5))
    reach = 2 * max(1, round(PEAK_UM / 2 / mpp)) + 1
    peaks = mask & (distance == ndimage.maximum_filter(distance, size=reach))
    markers, _ = ndimage.label(peaks, structure=np.ones((3, 3)))
    labels = watershed(-distance, markers, mask=mask).astype(np.int32)
    size = np.bincount(labels.ravel())
    strength = np.bincount(labels.ravel(), weights=nucleus.ravel()) / np.maximum(size, 1)
    area = size * mpp * mpp
    keep = (area >= min_um2) & (area <= max_um2) & (strength >= FAINT)
    keep[0] = False
    renumber = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(renumber[labels], dtype=np.int32)
