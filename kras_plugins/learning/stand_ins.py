"""Made-up patients of the kind that a bundle was fitted on, to run its models once before anybody relies on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import Bag, Sample, SemanticProfile, Squares, TileSpec, of_extractor
from kras_plugins.learning.inputs import Encoded, Inputs
from kras_plugins.semantics.features.table import FEATURES

if TYPE_CHECKING:
    from kras_plugins.data import Float64

PATIENTS, TILES = 12, 6
_SPREADS = (0.0, 0.5, 1.0, 3.0)
"""How far patients lie from training's median, in its spreads, so that they reach most branches of a tree."""


def stand_ins(inputs: Inputs, training: Mapping[str, Any]) -> list[Sample]:
    """Patients around the median of `training` (`evaluation.shift.training_summary`), always the same.

    They have what the models were fitted on: a profile of the frozen features, and a bag of each frozen encoder for
    which `training` states the number of features per tile.
    """
    rng = np.random.default_rng(0)
    known: Mapping[str, Any] = training.get("features") or {}
    quantiles = [known.get(name) or {"q25": -0.7, "median": 0.0, "q75": 0.7} for name in inputs.features or ()]
    middle, low, high = (np.array([q[key] for q in quantiles], np.float64) for key in ("median", "q25", "q75"))
    known_bags = [
        (name, encoded, summary)
        for name, encoded in inputs.encoders.items()
        if (summary := training.get(of_extractor("encoder", name))) is not None
    ]
    samples = []
    for i in range(PATIENTS):
        far = _SPREADS[i % len(_SPREADS)]
        values = middle + far * (high - low) * rng.normal(size=len(middle))
        samples.append(
            Sample(
                patient_id=f"stand-in {i}",
                bags=tuple(_bag(i, name, encoded, summary, far, rng) for name, encoded, summary in known_bags),
                profile=None if inputs.features is None else _profile(i, inputs.features, values),
            )
        )
    return samples


def _profile(i: int, names: tuple[str, ...], values: Float64) -> SemanticProfile:
    half = np.full(4, 0.5)
    return SemanticProfile(
        id=f"stand-in {i}",
        names=names,
        values=values,
        valid={f.group: bool(i % 3) for f in FEATURES},
        source="stand-in",
        squares=Squares(ce=half, cs=half, in_ce=100 * half * i, in_cs=200 * half * i),
    )


def _bag(
    i: int, extractor: str, encoded: Encoded, summary: Mapping[str, Any], far: float, rng: np.random.Generator
) -> Bag:
    mean, sd = (np.array(summary[key], np.float64) for key in ("mean", "sd"))
    tiles = mean + far * sd * rng.normal(size=(TILES, len(mean)))
    return Bag(
        slide_id=f"stand-in {i}",
        features=tiles.astype(np.float32),
        xy=np.stack([np.arange(TILES) * 448, np.zeros(TILES)], axis=1).astype(np.int32),
        size=(448.0, 448.0),
        tile_spec=TileSpec(px=224, mpp=0.5),
        encoder=encoded.encoder,
        transform_hash=encoded.transform_hash,
        extractor=extractor,
    )
