"""Nearest tiles by cosine: which other tiles does an encoder consider the same tissue?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.bags import slabs
from kras_plugins.data import Bag
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.data import Float64


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One tile: its slide, its upper left corner in level-0 pixels, its cosine to the chosen tile in [-1, 1]."""

    slide_id: str
    xy: tuple[int, int]
    cosine: float


def nearest(bags: Sequence[Bag], slide_id: str, point: tuple[float, float], count: int) -> list[Hit]:
    """The tile of `slide_id` at `point` (level-0 pixels; cosine 1), then the `count` nearest of all bags, best first.

    Equal cosines keep the order of bags and tiles. Raises ConfigError where no tile covers the point, the slide is
    not among the bags, or bags were made by different encoders.
    """
    made_by = {(bag.encoder, bag.transform_hash, bag.features.shape[1]) for bag in bags}
    if len(made_by) > 1:
        names = ", ".join(sorted(f"{encoder} ({dim} numbers)" for encoder, _, dim in made_by))
        raise ConfigError(f"the bags are of different encoders: {names}", "embed all slides with the same one")
    chosen = next((k for k, bag in enumerate(bags) if bag.slide_id == slide_id), None)
    if chosen is None:
        raise ConfigError(
            f"there is no slide {slide_id!r}", f"slides: {', '.join(sorted(bag.slide_id for bag in bags))}"
        )
    if not bags[chosen].placed:
        raise ConfigError(f"slide {slide_id}: its features are one vector for all of it", "give features of tiles")
    here = _tile_at(bags[chosen], point)
    cosines = _cosines(bags, np.asarray(bags[chosen].features[here], np.float64))
    owner = np.repeat(np.arange(len(bags)), [len(bag.xy) for bag in bags])
    first = int(sum(len(bag.xy) for bag in bags[:chosen]))
    cosines[first + here] = np.inf  # the tile itself comes first, even if others are identical
    order = np.argsort(-cosines, kind="stable")[: count + 1]
    starts = np.concatenate([[0], np.cumsum([len(bag.xy) for bag in bags])])
    hits = []
    for i in order:
        bag = bags[owner[i]]
        x, y = (int(v) for v in bag.xy[i - starts[owner[i]]])
        hits.append(Hit(slide_id=bag.slide_id, xy=(x, y), cosine=1.0 if i == first + here else float(cosines[i])))
    return hits


def _tile_at(bag: Bag, point: tuple[float, float]) -> int:
    """The tile that covers the point, the one with the nearest center where several do."""
    corner = np.asarray(bag.xy, np.float64)
    offset = np.asarray(point, np.float64) - corner
    size = np.asarray(bag.size)
    distance = np.hypot(*(offset - size / 2).T)
    inside = ((offset >= 0) & (offset < size)).all(axis=1)
    if inside.any():
        return int(np.flatnonzero(inside)[np.argmin(distance[inside])])
    x, y = (int(v) for v in bag.xy[int(np.argmin(distance))])
    raise ConfigError(
        f"slide {bag.slide_id}: no tile with tissue at {point[0]:g},{point[1]:g}",
        f"the nearest begins at {x},{y} (level-0 pixels, {size[0]:g} x {size[1]:g})",
    )


def _cosines(bags: Sequence[Bag], query: Float64) -> Float64:
    """Cosine of every tile of every bag, in order; bags may be larger than memory and are read in slabs."""
    found = []
    unit = query / max(float(np.linalg.norm(query)), 1e-12)
    for bag in bags:
        for slab in slabs(bag):
            norms = np.maximum(np.linalg.norm(slab, axis=1), 1e-12)
            found.append((slab @ unit.astype(np.float32)).astype(np.float64) / norms)
    return np.concatenate(found) if found else np.zeros(0)
