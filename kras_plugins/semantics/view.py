"""A SemanticMap prepared for measurement: where each cell lies, areas, counts."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import TISSUE_CLASSES, SemanticMap
from kras_plugins.semantics.cells import of_class
from kras_plugins.semantics.lattice import Lattice, lattice_over
from kras_plugins.semantics.raster import Raster, pixels_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64, UInt8


class View:
    """Masks over cells and pixels that the feature groups share, each computed once.

    `xy`: float64[cell 2] in µm. `raster`, `tissue`: the tissue classes, background where not analyzed. TA, the tumor
    area, is cancer epithelium and stroma.
    """

    def __init__(self, semantic: SemanticMap) -> None:
        height, width = semantic.tissue.shape
        self.semantic = semantic
        self._lattices: dict[float, Lattice] = {}
        self.raster = Raster(shape=(height, width), mpp=semantic.tissue_mpp, origin_um=semantic.origin_um)
        self.tissue: UInt8 = np.where(semantic.analysed, semantic.tissue, np.uint8(0))
        self.xy: Float64 = np.stack([semantic.cells[name].to_numpy() for name in ("x_um", "y_um")], 1).astype(
            np.float64
        )
        self.row, self.column, on_raster = self.raster.find(self.xy[:, 0], self.xy[:, 1])
        self.cell_tissue: UInt8 = np.where(on_raster, self.tissue[self.row, self.column], np.uint8(0))
        self._mm2 = pixels_of(self.tissue, 256)[: len(TISSUE_CLASSES)] * self.raster.pixel_mm2

    def area(self, *names: str) -> float:
        """Area of tissue classes together, in mm²."""
        return float(sum(self._mm2[TISSUE_CLASSES.index(name)] for name in names))

    @cached_property
    def area_tissue(self) -> float:
        """Analyzed tissue, whatever its class, in mm²."""
        return float(self._mm2[1:].sum())

    @cached_property
    def area_ta(self) -> float:
        """Tumor area in mm²."""
        return self.area("cancer_epithelium", "cancer_stroma")

    def within(self, *names: str) -> Bool:
        """bool[cell]: whether each cell lies in one of these tissue classes."""
        return np.isin(self.cell_tissue, [TISSUE_CLASSES.index(name) for name in names])

    def pixels(self, *names: str) -> Bool:
        """bool[h w]: the pixels of these tissue classes."""
        chosen = np.zeros(256, np.bool_)
        chosen[[TISSUE_CLASSES.index(name) for name in names]] = True
        return np.asarray(chosen[self.tissue])

    @cached_property
    def ta_pixels(self) -> Bool:
        """bool[h w]: the pixels of the tumor area, the window of all spatial statistics."""
        return self.pixels("cancer_epithelium", "cancer_stroma")

    def inside_ta(self, xy: Float64) -> Bool:
        """bool[point]: whether points float64[point 2] in µm lie in the tumor area."""
        row, column, on_raster = self.raster.find(xy[:, 0], xy[:, 1])
        return np.asarray(on_raster & self.ta_pixels[row, column])

    def cut(self, pixels: npt.NDArray[Any], margin: int) -> npt.NDArray[Any]:
        """A view of the part of an array[h w] on the raster around the tumor area, with `margin` more pixels."""
        bands = []
        for axis in (1, 0):
            occupied = np.flatnonzero(self.ta_pixels.any(axis))
            low, high = (int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else (0, 1)
            bands.append(slice(max(0, low - margin), high + margin))
        return pixels[tuple(bands)]

    def lattice(self, side_um: float) -> Lattice:
        """Squares of `side_um` over the tumor area, each lattice made once."""
        if side_um not in self._lattices:
            self._lattices[side_um] = lattice_over(self.ta_pixels, self.raster, side_um)
        return self._lattices[side_um]

    @cached_property
    def in_ce(self) -> Bool:
        """bool[cell]: in cancer epithelium."""
        return self.within("cancer_epithelium")

    @cached_property
    def in_cs(self) -> Bool:
        """bool[cell]: in cancer stroma."""
        return self.within("cancer_stroma")

    @cached_property
    def in_ta(self) -> Bool:
        """bool[cell]: in the tumor area."""
        return self.in_ce | self.in_cs

    def of(self, name: str) -> Bool:
        """bool[cell]: cells of one class."""
        return of_class(self.semantic.cells, name)

    @cached_property
    def tumor(self) -> Bool:
        """bool[cell]: tumor cells."""
        return self.of("tumor")

    @cached_property
    def lymphocyte(self) -> Bool:
        """bool[cell]: lymphocytes (including plasma cells where the source does not distinguish them)."""
        return self.of("lymphocyte")

    @cached_property
    def signed_um(self) -> Float32:
        """float32[h w]: distance in µm to the CE-CS interface, negative in epithelium; inf or -inf without any.

        Edges on background, necrosis or normal lung do not count (docs/reference/definitions.md, symbols).
        """
        from kras_plugins.semantics.distance import distance_to_edge  # brings numba

        epithelium = self.pixels("cancer_epithelium")
        distance = distance_to_edge(epithelium, self.pixels("cancer_stroma"), self.raster.mpp)
        np.negative(distance, out=distance, where=epithelium)
        return distance

    @cached_property
    def has_interface(self) -> bool:
        """Whether epithelium and stroma touch anywhere: then every distance is finite."""
        return bool(np.isfinite(self.signed_um[:1, :1]).all())

    def column_of(self, name: str) -> Float64:
        """float64[cell] of a measured column, NaN where the source gave none."""
        return np.asarray(self.semantic.cells[name].to_numpy(), dtype=np.float64)


def ratio(above: float, below: float) -> float:
    """`above / below`, NaN where there is nothing to divide by."""
    return above / below if below > 0 else float("nan")
