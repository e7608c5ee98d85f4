"""SemanticMap -> SemanticProfile: every group whose counts and areas suffice, the rest NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import astuple

import numpy as np

from kras_plugins.data import SemanticMap, SemanticProfile, Squares
from kras_plugins.semantics.features.architecture import architecture
from kras_plugins.semantics.features.areas import areas
from kras_plugins.semantics.features.clusters import clusters
from kras_plugins.semantics.features.densities import densities
from kras_plugins.semantics.features.graph import graph
from kras_plugins.semantics.features.hotspots import hotspots
from kras_plugins.semantics.features.interface import interface
from kras_plugins.semantics.features.neighbors import neighbors
from kras_plugins.semantics.features.nuclei import nuclei
from kras_plugins.semantics.features.patterns import patterns
from kras_plugins.semantics.features.phenotype import phenotype, squares
from kras_plugins.semantics.features.ratios import ratios
from kras_plugins.semantics.features.second_order import second_order
from kras_plugins.semantics.features.similarity import similarity
from kras_plugins.semantics.features.table import FEATURES
from kras_plugins.semantics.features.validity import OF_FIELDS, of_field, validity
from kras_plugins.semantics.view import View

FEATURES_VERSION = 5
"""Raised when a feature gives another value for the same map or patient, or a stored profile contains more."""

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


def profile(semantic: SemanticMap) -> SemanticProfile:
    """The features of one slide, in the order of `table.FEATURES`.

    A group that is not valid is NaN throughout, except densities and ratios of a field of view (`validity.OF_FIELDS`).
    So is a feature whose classes or columns the source cannot give.
    The profile's `source` says where the cells and the cancer epithelium come from. The immune phenotype uses the
    published thresholds; from the profile's squares, phenotype.with_thresholds computes it with others.
    """
    view = View(semantic)
    provides = semantic.provides | ({"growth_patterns"} if semantic.pattern is not None else set())
    valid = validity(view)
    found: dict[str, float] = {}
    for group, compute in COMPUTE.items():
        if valid[group]:
            found |= compute(view)
        elif semantic.field and group in OF_FIELDS:
            found |= of_field(group, compute(view))
    values = [found.get(f.name, math.nan) if f.needs <= provides else math.nan for f in FEATURES]
    return SemanticProfile(
        id=semantic.slide_id,
        names=tuple(f.name for f in FEATURES),
        values=np.array(values, np.float64),
        valid=valid,
        source=f"{semantic.source}; cancer epithelium: {semantic.ce_source}",
        squares=squares(view),
        unlike_share=semantic.unlike_share,
    )


def to_json(profile: SemanticProfile) -> str:
    """A profile as text, to be stored."""
    grid = None if profile.squares is None else [column.tolist() for column in astuple(profile.squares)]
    values = [None if math.isnan(v) else v for v in profile.values.tolist()]
    facts = {"names": profile.names, "values": values, "valid": dict(profile.valid), "source": profile.source}
    return json.dumps({**facts, "squares": grid, "unlike_share": profile.unlike_share}, allow_nan=False)


def from_json(text: str, slide_id: str) -> SemanticProfile:
    """The profile that `to_json` wrote, as that of a slide."""
    facts = json.loads(text)
    grid = facts["squares"]
    return SemanticProfile(
        id=slide_id,
        names=tuple(facts["names"]),
        values=np.array([np.nan if v is None else v for v in facts["values"]], np.float64),
        valid=facts["valid"],
        source=facts["source"],
        squares=None if grid is None else Squares(*(np.array(column, np.float64) for column in grid)),
        unlike_share=facts["unlike_share"],
    )
