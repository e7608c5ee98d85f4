"""What a classifier gets to see of a patient: whether it is there, and whether it is of one kind throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kras_plugins.data import Bag, Sample, SemanticProfile
from kras_plugins.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a set of samples was made with: encoder and transform of its bags, ordered features of its profiles.

    Each is None where no sample has a bag or profile.
    """

    encoder: str | None = None
    transform_hash: str | None = None
    features: tuple[str, ...] | None = None


def has_input(consumes: type[Bag] | type[SemanticProfile], sample: Sample) -> bool:
    """Whether a sample has what a classifier consumes: a bag with at least one tile, or a profile."""
    if consumes is Bag:
        return any(len(bag.features) for bag in sample.bags)
    return sample.profile is not None


def common_inputs(samples: Sequence[Sample]) -> Inputs:
    """The one kind of bags and profiles that all samples share; raises ConfigError where they are mixed."""
    bags = {(b.encoder, b.transform_hash): b.slide_id for s in samples for b in s.bags}
    if len(bags) > 1:
        (one, slide_a), (other, slide_b) = list(bags.items())[:2]
        raise ConfigError(
            f"slides {slide_a} and {slide_b} have features of two encoders: {' '.join(one)} and {' '.join(other)}",
            "make all features with one encoder, resolution and normalization",
        )
    names = {s.profile.names: s.patient_id for s in samples if s.profile is not None}
    if len(names) > 1:
        (first, patient_a), (second, patient_b) = list(names.items())[:2]
        differing = sorted(set(first) ^ set(second))[:3] or ["their order"]
        raise ConfigError(
            f"patients {patient_a} and {patient_b} have different feature columns ({', '.join(differing)})",
            "make all profiles with one profiler and one set of options",
        )
    encoder, transform_hash = next(iter(bags), (None, None))
    return Inputs(encoder=encoder, transform_hash=transform_hash, features=next(iter(names), None))


def conform(samples: Sequence[Sample], frozen: Inputs) -> list[Sample]:
    """Samples as a fitted model expects them: profile columns in the frozen order, surplus columns dropped.

    Raises ConfigError for a missing column and for a bag of another encoder or transform. Parts that the model was
    not fitted with pass unchecked.
    """
    return [_conform(sample, frozen) for sample in samples]


def _conform(sample: Sample, frozen: Inputs) -> Sample:
    for bag in sample.bags if frozen.encoder is not None else ():
        if (bag.encoder, bag.transform_hash) != (frozen.encoder, frozen.transform_hash):
            raise ConfigError(
                f"slide {bag.slide_id}: features come from {bag.encoder} {bag.transform_hash}, "
                f"the model was fitted on {frozen.encoder} {frozen.transform_hash}",
                "make the features with the encoder and transform that the bundle names",
            )
    profile = sample.profile
    if profile is None or frozen.features is None or profile.names == frozen.features:
        return sample
    column = {name: i for i, name in enumerate(profile.names)}
    missing = [name for name in frozen.features if name not in column]
    if missing:
        raise ConfigError(
            f"patient {sample.patient_id}: {len(missing)} feature columns are missing, first {missing[0]}",
            "make the profile with the profiler and options that the bundle names",
        )
    values = profile.values[np.array([column[name] for name in frozen.features])]
    return replace(sample, profile=replace(profile, names=frozen.features, values=values))
