"""SemanticMap -> SemanticProfile: every group whose counts and areas suffice, the rest NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kras_plugins.data import SemanticMap, SemanticProfile
from kras_plugins.semantics.areas import areas
from kras_plugins.semantics.densities import densities
from kras_plugins.semantics.neighbors import neighbors
from kras_plugins.semantics.nuclei import nuclei
from kras_plugins.semantics.phenotype import phenotype, squares
from kras_plugins.semantics.ratios import ratios
from kras_plugins.semantics.table import FEATURES
from kras_plugins.semantics.view import View

FEATURES_VERSION = 1
"""Rises when a feature gives another value for the same map."""

MIN_TUMOR, MIN_NUCLEI, MIN_CE_MM2, MIN_GRIDS = 200, 500, 0.1, 3

_COMPUTE: dict[str, Callable[[View], dict[str, float]]] = {
    "A": areas,
    "B": densities,
    "C": ratios,
    "D": phenotype,
    "E": neighbors,
    "M": nuclei,
}


def profile(semantic: SemanticMap) -> SemanticProfile:
    """The features of one slide, in the order of `table.FEATURES`.

    A group that is not valid is NaN throughout, and so is a feature whose classes or columns the source cannot give.
    """
    view = View(semantic)
    valid = validity(view)
    found: dict[str, float] = {}
    for group, compute in _COMPUTE.items():
        if valid[group]:
            found |= compute(view)
    values = [found.get(f.name, math.nan) if f.needs <= semantic.provides else math.nan for f in FEATURES]
    return SemanticProfile(
        id=semantic.slide_id,
        names=tuple(f.name for f in FEATURES),
        values=np.array(values, np.float64),
        valid=valid,
        source=semantic.source,
    )


def validity(view: View) -> dict[str, bool]:
    """Which groups have enough to go by (science.md §3.Y): epithelium, tumor cells, nuclei, squares."""
    epithelium = view.area("cancer_epithelium") >= MIN_CE_MM2
    tumor = bool(np.count_nonzero(view.tumor & view.in_ta) >= MIN_TUMOR)
    return {
        "A": view.area_tissue > 0,
        "B": epithelium,
        "C": epithelium and tumor,
        "D": len(squares(view).ce) >= MIN_GRIDS,
        "E": epithelium and tumor,
        "M": bool(np.count_nonzero(view.tumor & view.in_ce) >= MIN_NUCLEI),
    }
