"""Which feature groups of a slide have enough data; a group that has not is NaN throughout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kras_plugins.semantics.features.hotspots import HOTSPOT_SIDE_UM
from kras_plugins.semantics.features.phenotype import MIN_GRIDS, n_grids, squares
from kras_plugins.semantics.features.similarity import SIDE_UM
from kras_plugins.semantics.view import View

MIN_TUMOR, MIN_LYMPHOCYTES, MIN_NUCLEI = 200, 50, 500
MIN_CE_MM2 = 0.1
MIN_SQUARES, MIN_HOTSPOT_SQUARES = 30, 400
OF_FIELDS = frozenset("BC")
"""Groups that a field of view has whatever its size: counts over areas and over counts. They add up over the fields of
a patient, who must meet the same limits (`patient.combine`)."""
NOT_OF_FIELDS = frozenset({"itlr", "atlr", "dtlr"})
"""Those of their features that need the limits nevertheless: a mixture fitted to many cells."""


def validity(view: View) -> dict[str, bool]:
    """One flag per feature group (docs/reference/definitions.md, validity); `RULES` says the same in words."""
    epithelium = view.area("cancer_epithelium") >= MIN_CE_MM2
    tumor = bool(np.count_nonzero(view.tumor & view.in_ta) >= MIN_TUMOR)
    lymphocytes = bool(np.count_nonzero(view.lymphocyte & view.in_ta) >= MIN_LYMPHOCYTES)
    cells = epithelium and tumor
    return {
        "A": view.area_tissue > 0,
        "B": epithelium,
        "C": cells,
        "D": n_grids(squares(view)) >= MIN_GRIDS,
        "E": cells,
        "F": cells and lymphocytes,
        "G": cells and bool(view.lattice(SIDE_UM).use.sum() >= MIN_SQUARES),
        "H": cells and bool(view.lattice(HOTSPOT_SIDE_UM).use.sum() >= MIN_HOTSPOT_SQUARES),
        "I": cells and lymphocytes,
        "J": epithelium and view.has_interface,
        "K": epithelium,
        "L": epithelium,
        "M": bool(np.count_nonzero(view.tumor & view.in_ce) >= MIN_NUCLEI),
        "N": epithelium,
    }


def of_field(group: str, found: Mapping[str, float]) -> dict[str, float]:
    """The features that a field of view has even though their group is not valid."""
    return {k: v for k, v in found.items() if group in OF_FIELDS and k not in NOT_OF_FIELDS}


_CE = f"CE >= {MIN_CE_MM2} mm²"
_CELLS = f"{_CE} and >= {MIN_TUMOR} T in TA"
_BOTH = f"{_CELLS} and >= {MIN_LYMPHOCYTES} L in TA"

RULES = {
    "A": "any analyzed tissue",
    "B": _CE,
    "C": f"{_CELLS}; itlr, atlr and dtlr: >= 50 L in tissue",
    "D": f">= {MIN_GRIDS} squares a grid with CE + CS >= 0.05 mm²; a density: >= 0.01 mm² of its tissue in the square",
    "E": f"{_CELLS}; distances to L: any L in TA",
    "F": f"{_BOTH}; at r: on average at least half of a circle of radius r around a point of TA lies in TA",
    "G": f"{_CELLS} and >= {MIN_SQUARES} squares of 100 µm of which TA covers half; L: any in those squares",
    "H": f"{_CELLS} and >= {MIN_HOTSPOT_SQUARES} squares of 50 µm of which TA covers half; overlaps: any hotspot",
    "I": f"{_BOTH}; mixing: any LL edge; voronoi_cv_t: >= 30 whole cells",
    "J": f"{_CE} that touches CS; a density: >= 0.01 mm² of its band; til_slope: 2 bands on each side",
    "K": f"{_CE}; shapes: any component that passes the filters",
    "L": f"{_CE}; distances, sizes and indices: any cluster (til_c_index: two)",
    "M": f">= {MIN_NUCLEI} T in CE",
    "N": f"{_CE}; patterns: a growth-pattern map with >= 0.1 mm² of patterns",
}
"""The rule of each group in words, for the page of features."""
