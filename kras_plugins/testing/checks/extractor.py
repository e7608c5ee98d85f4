"""Checks of extractors only: what their features are, and how they describe published weights."""

from __future__ import annotations

import numpy as np

from kras_plugins.contracts.model import Weights
from kras_plugins.errors import KrasError
from kras_plugins.testing.checks.candidate import Candidate
from kras_plugins.testing.checks.outcome import NotApplicable
from kras_plugins.testing.checks.rule import check, require, shown
from kras_plugins.testing.checks.tiles import TILES_IN, run, tiles, usual


@check("live extractor", file="contracts/extractor.py", words=TILES_IN)
def features_described(candidate: Candidate) -> None:
    """Features are float32, with one row per tile and as many columns as `dim` says."""
    dim = candidate.record.length(candidate.options)
    require(isinstance(dim, int) and dim > 0, "a whole number of features", repr(dim))
    features = usual(candidate)["features"]
    right = isinstance(features, np.ndarray) and features.dtype == np.float32
    require(right and features.ndim == 2 and features.shape[1] == dim, f"float32[tile {dim}]", shown(features))


@check("live extractor", file="processing/embedding.py", words="BackendError when features are not finite")
def finite(candidate: Candidate) -> None:
    """Features are finite for any tile, even plain white, black or noise: one NaN ends the run."""
    pixels = tiles(candidate)[:4]
    pixels[0], pixels[1], pixels[2] = 255, 0, 127
    pixels[3] = np.random.default_rng(0).integers(0, 256, pixels[3].shape, np.uint8)
    names = ("white", "black", "gray", "noise")
    features = run(candidate, pixels)["features"]
    bad = [name for name, row in zip(names, features, strict=True) if not np.isfinite(row).all()]
    require(not bad, "finite features", f"NaN or infinite ones of a tile of {', '.join(bad)}")


@check("extractor", file="contracts/extractor.py", words="published weights by the name that option `model` takes")
def catalog_described(candidate: Candidate) -> None:
    """Each of the published weights has a license, and option `model` takes its name."""
    catalog = candidate.record.catalog()
    if not catalog:
        raise NotApplicable("it has no catalog of published weights")
    for name, weights in catalog.items():
        require(isinstance(weights, Weights), f"Weights for {name}", repr(weights))
        require(bool(weights.licence.strip()), f"a license of {name}", "none")
        try:
            options = candidate.record.options(model=name)
            specs = candidate.record.models(options)
        except (KrasError, ValueError) as e:
            require(False, f"option model={name} to be valid", f"{type(e).__name__}: {e}")
        require(
            any(s.weights.source == weights.source for s in specs),
            f"a model with the weights {weights.source} for option model={name}",
            ", ".join(s.weights.source for s in specs) or "none",
        )
