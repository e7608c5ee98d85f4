"""Patients drawn for checks of classifiers: a third are positive and differ in some tiles and some features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kras_plugins.contracts.classifier import Cohort
from kras_plugins.data import Bag, Sample, SemanticProfile, TileSpec
from kras_plugins.semantics.features.table import FEATURES

DIM = 16
"""Features per tile."""

Labelled = list[tuple[Sample, int]]


def draw(n: int, seed: int) -> Labelled:
    """Patients with bags and profiles as the host makes them: several slides, missing values, read-only arrays."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        label = int(i % 3 == 0)
        name = f"p{seed}-{i}"
        bags = tuple(_bag(f"{name}-{k}", label, rng) for k in range(1 + (i % 5 == 4)))
        found.append((Sample(patient_id=name, bags=bags, profile=_profile(name, label, rng)), label))
    return found


def cohort(patients: Labelled) -> Cohort:
    """Patients with their labels, each in a separate group."""
    samples = [sample for sample, _ in patients]
    labels = np.array([label for _, label in patients], np.int8)
    labels.flags.writeable = False
    return Cohort(samples=samples, labels=labels, groups=[s.patient_id for s in samples])


def with_bags(sample: Sample, features: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Sample:
    """The same patient with other tile features."""
    bag = sample.bags[0]
    xy = np.zeros((len(features), 2), np.int32)
    return replace(sample, bags=(replace(bag, features=features, xy=xy),))


def with_values(sample: Sample, names: Sequence[str], values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Sample:
    """The same patient with another profile."""
    assert sample.profile is not None
    return replace(sample, profile=replace(sample.profile, names=tuple(names), values=values))


def _bag(slide_id: str, label: int, rng: np.random.Generator) -> Bag:
    tiles = rng.normal(size=(int(rng.integers(12, 24)), DIM)).astype(np.float32)
    tiles[:6, :4] += 2.5 * label
    tiles.flags.writeable = False  # as features from the store are
    xy = np.stack([np.arange(len(tiles)) * 448, np.zeros(len(tiles))], axis=1).astype(np.int32)
    spec = TileSpec(px=224, mpp=0.5)
    return Bag(
        slide_id=slide_id, features=tiles, xy=xy, size=(448.0, 448.0), tile_spec=spec, encoder="drawn/1",
        transform_hash="0" * 16,
    )  # fmt: skip


def _profile(name: str, label: int, rng: np.random.Generator) -> SemanticProfile:
    values = rng.uniform(1, 2, len(FEATURES)) + 0.8 * label * np.array([f.core for f in FEATURES])
    values[rng.random(len(values)) < 0.05] = np.nan
    values.flags.writeable = False
    valid = {group: bool(rng.random() < 0.9) for group in sorted({f.group for f in FEATURES})}
    return SemanticProfile(id=name, names=tuple(f.name for f in FEATURES), values=values, valid=valid, source="drawn")
