"""What a classifier sees of a patient: whether it is present, and whether it is of one kind throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from kras_plugins.data import Bag, Sample, SemanticProfile
from kras_plugins.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What made the features of bags."""

    encoder: str
    transform_hash: str


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a set of samples was made with: encoders of its bags, ordered features of its profiles.

    `encoders`: by extractor, under "" if there is only one; empty if no sample has a bag. `features`: None if none has
    a profile.
    """

    encoders: Mapping[str, Encoded] = field(default_factory=dict)
    features: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle, JSON values: `extractors` is present only if there are several."""
        one = self.encoders.get("")
        several = {name: asdict(encoded) for name, encoded in self.encoders.items() if name}
        return {
            "encoder": None if one is None else one.encoder,
            "transform_hash": None if one is None else one.transform_hash,
            "features": self.features,
            **({"extractors": several} if several else {}),
        }


def handed(sample: Sample, extractor: str) -> Sample:
    """A sample as a member gets it: of several extractors' bags only those of its own; with "" all bags."""
    if all(bag.extractor == extractor for bag in sample.bags):
        return sample
    return replace(sample, bags=tuple(bag for bag in sample.bags if bag.extractor == extractor))


def has_input(consumes: type[Bag] | type[SemanticProfile], sample: Sample) -> bool:
    """Whether a handed-over sample has what a classifier consumes: a bag with at least one tile, or a profile."""
    if consumes is Bag:
        return any(len(bag.features) for bag in sample.bags)
    return sample.profile is not None


def common_inputs(samples: Sequence[Sample]) -> Inputs:
    """The kinds of bags, one per extractor, and of profiles that all samples share; ConfigError if they are mixed."""
    encoders: dict[str, Encoded] = {}
    first: dict[str, str] = {}
    for bag in (bag for sample in samples for bag in sample.bags):
        found = _encoded(bag)
        before = encoders.setdefault(bag.extractor, found)
        if before != found:
            raise ConfigError(
                f"slides {first[bag.extractor]} and {bag.slide_id} have features of two encoders: "
                f"{before.encoder} {before.transform_hash} and {found.encoder} {found.transform_hash}",
                "make all features with one encoder, resolution and normalization",
            )
        first.setdefault(bag.extractor, bag.slide_id)
    names = {s.profile.names: s.patient_id for s in samples if s.profile is not None}
    if len(names) > 1:
        (one, patient_a), (other, patient_b) = list(names.items())[:2]
        differing = sorted(set(one) ^ set(other))[:3] or ["their order"]
        raise ConfigError(
            f"patients {patient_a} and {patient_b} have different feature columns ({', '.join(differing)})",
            "make all profiles with one profiler and one set of options",
        )
    return Inputs(encoders=encoders, features=next(iter(names), None))


def _encoded(bag: Bag) -> Encoded:
    return Encoded(encoder=bag.encoder, transform_hash=bag.transform_hash)


def conform(samples: Sequence[Sample], frozen: Inputs) -> list[Sample]:
    """Samples as a fitted model expects them: profile columns in the frozen order, surplus columns dropped.

    Raises ConfigError for a missing column and for a bag of another encoder or transform. Parts that the model was not
    fitted on pass unchecked.
    """
    return [_conform(sample, frozen) for sample in samples]


def _conform(sample: Sample, frozen: Inputs) -> Sample:
    for bag in sample.bags:
        fitted = frozen.encoders.get(bag.extractor)
        if fitted is not None and _encoded(bag) != fitted:
            raise ConfigError(
                f"slide {bag.slide_id}: features come from {bag.encoder} {bag.transform_hash}, "
                f"the model was fitted on {fitted.encoder} {fitted.transform_hash}",
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
