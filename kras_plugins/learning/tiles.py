"""A patient as one bag for classifiers: all tiles of all slides, of which only the requested ones are read.

Memory use is that of the requested tiles: the pages of mapped bags are released.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.bags import let_go, slabs
from kras_plugins.data import Bag, Sample
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float32

    Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """What made the features: it must be the same for all bags of a model."""

    encoder: str
    transform_hash: str
    dim: int


def source_of(samples: Iterable[Sample]) -> Source:
    """The one source of all bags; raises ConfigError when there is none or more than one."""
    found = {
        Source(bag.encoder, bag.transform_hash, bag.features.shape[1]): sample.patient_id
        for sample in samples
        for bag in sample.bags
    }
    if not found:
        raise ConfigError("no patient has tile features", "name an extractor")
    if len(found) > 1:
        (a, first), (b, second), *_ = found.items()
        raise ConfigError(
            f"tile features of patients {first!r} ({a}) and {second!r} ({b}) come from different sources",
            "make all features with one extractor and the same options",
        )
    return next(iter(found))


def count(sample: Sample) -> int:
    """Number of tiles; raises ConfigError when there is none."""
    n = sum(len(bag.features) for bag in sample.bags)
    if n == 0:
        raise ConfigError(f"patient {sample.patient_id!r} has no tiles", "leave the patient out")
    return n


def evenly(n: int, at_most: int) -> Index:
    """Which of `n` tiles are used: all, or `at_most` (0: all) evenly spaced ones, which cover the slides."""
    return np.arange(n) if not 0 < at_most < n else np.linspace(0, n - 1, at_most).round().astype(np.int64)


def gather(sample: Sample, index: Index, out: Float32 | None = None) -> Float32:
    """Features float32[tile feature] of the tiles at `index` (ascending, counted through the patient's bags).

    Only these rows are read from memory-mapped bags, into `out` if given. Raises ConfigError when one is not
    finite.
    """
    if out is None:
        out = np.empty((len(index), sample.bags[0].features.shape[1]), np.float32)
    at = 0
    for bag, local in _split(sample, index):
        part = out[at : at + len(local)]
        # "clip", since no index is out of range, and "raise" would make another copy.
        np.take(np.asarray(bag.features, np.float32), local, axis=0, out=part, mode="clip")
        let_go(bag.features)
        at += len(local)
        _check(bag, part)
    return out


def checked_slabs(bag: Bag) -> Iterator[Float32]:
    """All tiles of a bag in order, a few thousand at a time; raises ConfigError when one is not finite."""
    for slab in slabs(bag):
        _check(bag, slab)
        yield slab


def check_source(samples: Iterable[Sample], trained: Source | None) -> None:
    """Raise ConfigError for a patient without tiles, and for one whose features are not what a model was trained on."""
    for sample in samples:
        count(sample)
        if (found := source_of([sample])) != trained:
            raise ConfigError(
                f"tile features of patient {sample.patient_id!r} come from {found}, the model's from {trained}",
                "extract features with the extractor and options that the model was trained with",
            )


def places(sample: Sample, index: Index) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Slide of each tile at `index`, and its xy int32[tile 2]."""
    parts = list(_split(sample, index))
    slides = tuple(bag.slide_id for bag, local in parts for _ in local)
    return slides, np.concatenate([bag.xy[local] for bag, local in parts]).astype(np.int32)


def _check(bag: Bag, features: Float32) -> None:
    if not np.isfinite(features).all():
        raise ConfigError(
            f"slide {bag.slide_id!r} has tile features that are not finite numbers",
            "make its features again (kras embed) or leave the slide out",
        )


def _split(sample: Sample, index: Index) -> Sequence[tuple[Bag, Index]]:
    """Each bag with the rows of it that `index` names."""
    ends = np.cumsum([len(bag.features) for bag in sample.bags])
    cuts = np.searchsorted(index, [0, *ends])
    return [
        (bag, index[a:b] - (end - len(bag.features)))
        for bag, end, a, b in zip(sample.bags, ends, cuts[:-1], cuts[1:], strict=True)
    ]
