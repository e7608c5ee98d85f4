"""SemanticMap -> SemanticProfile: every group whose counts and areas suffice, the rest NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kras_plugins.data import SemanticMap, SemanticProfile
from kras_plugins.semantics.architecture import architecture
from kras_plugins.semantics.areas import areas
from kras_plugins.semantics.clusters import clusters
from kras_plugins.semantics.densities import densities
from kras_plugins.semantics.graph import graph
from kras_plugins.semantics.hotspots import hotspots
from kras_plugins.semantics.interface import interface
from kras_plugins.semantics.neighbors import neighbors
from kras_plugins.semantics.nuclei import nuclei
from kras_plugins.semantics.patterns import GrowthPatterns, patterns
from kras_plugins.semantics.phenotype import phenotype
from kras_plugins.semantics.ratios import ratios
from kras_plugins.semantics.second_order import second_order
from kras_plugins.semantics.similarity import similarity
from kras_plugins.semantics.table import FEATURES
from kras_plugins.semantics.validity import validity
from kras_plugins.semantics.view import View

FEATURES_VERSION = 2
"""Rises when a feature gives another value for the same map."""

COMPUTE: dict[str, Callable[[View], dict[str, float]]] = {
    "A": areas,
    "B": densities,
    "C": ratios,
    "D": phenotype,
    "E": neighbors,
    "F": second_order,
    "G": similarity,
    "H": hotspots,
    "I": graph,
    "J": interface,
    "K": architecture,
    "L": clusters,
    "M": nuclei,
    "N": patterns,
}
"""What computes each group of features."""


def profile(semantic: SemanticMap, growth: GrowthPatterns | None = None) -> SemanticProfile:
    """The features of one slide, in the order of `table.FEATURES`.

    A group that is not valid is NaN throughout, and so is a feature whose classes or columns the source cannot give.
    The profile's `source` says where the cells and the cancer epithelium come from. `growth`: growth patterns, if a
    tile classifier gives them; the immune phenotype is that of the published thresholds (phenotype.with_thresholds
    gives another).
    """
    view = View(semantic, growth)
    provides = semantic.provides | ({"growth_patterns"} if growth is not None else set())
    valid = validity(view)
    found: dict[str, float] = {}
    for group, compute in COMPUTE.items():
        if valid[group]:
            found |= compute(view)
    values = [found.get(f.name, math.nan) if f.needs <= provides else math.nan for f in FEATURES]
    return SemanticProfile(
        id=semantic.slide_id,
        names=tuple(f.name for f in FEATURES),
        values=np.array(values, np.float64),
        valid=valid,
        source=f"{semantic.source}; cancer epithelium: {semantic.ce_source}",
    )
