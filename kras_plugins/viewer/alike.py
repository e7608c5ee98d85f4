"""The tiles most like a chosen one: in its slide and, if their features are still stored, in the training cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kras_plugins.errors import KrasError
from kras_plugins.probing.retrieval import nearest

if TYPE_CHECKING:
    from kras_plugins.data import Bag

MOST_BYTES = 1 << 31
"""Bytes of features that are searched per click: some seconds from a disk."""
_PICTURE_PX = 160


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A bag to search. `name`: the slide's in addresses, None if not shown; `training`: whether it was trained on."""

    bag: Bag
    slide_id: str
    patient_id: str
    name: str | None
    training: bool


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """The slides that a bundle was trained on: `bags` by digest, and how many more are `absent` from the store."""

    bags: Mapping[str, Searched] = field(default_factory=dict)
    absent: int = 0


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Searches `own`, the slide itself, and the training cohort, which is read at the first click.

    `digest`: that of the slide's own bag, which the cohort may contain, too.
    """

    own: Searched
    digest: str
    cohort: Callable[[], Cohort]

    def __call__(self, x: float, y: float, n: int) -> Mapping[str, Any]:
        """What the address `similar` answers for a point in level-0 pixels."""
        cohort = self.cohort()
        others = [one for digest, one in cohort.bags.items() if digest != self.digest]
        searched = _affordable([replace(self.own, training=self.digest in cohort.bags), *others])
        bags = [replace(one.bag, slide_id=str(i)) for i, one in enumerate(searched)]
        try:
            found = nearest(bags, "0", (x, y), n)
        except KrasError:
            return {"of": "There is no analyzed tile here.", "hits": []}
        of = _of(searched, len(others) + cohort.absent)
        return {"of": of, "hits": [_told(searched[int(h.slide_id)], h.xy, h.cosine) for h in found[1:]]}


def _affordable(bags: Sequence[Searched]) -> list[Searched]:
    """The first bag, and others of the same encoder within the limit of bytes."""
    kept, room = [bags[0]], MOST_BYTES
    for one in bags[1:]:
        same = _kind(one.bag) == _kind(bags[0].bag)
        room -= one.bag.features.nbytes if same else 0
        if same and room >= 0:
            kept.append(one)
    return kept


def _kind(bag: Bag) -> tuple[str, str, int]:
    return bag.encoder, bag.transform_hash, bag.features.shape[1]


def _of(searched: Sequence[Searched], others: int) -> str:
    """What was searched, in words; `others`: slides of the training cohort except this one."""
    text = f"{sum(len(one.bag.xy) for one in searched):,} tiles of this slide"
    if not others:
        return f"{text}; no slide of the training cohort is in the store."
    return f"{text} and of {len(searched) - 1:,} of {others:,} slides of the training cohort (in the store)."


def _told(one: Searched, xy: tuple[int, int], cosine: float) -> dict[str, Any]:
    (x, y), (width, height) = xy, one.bag.size
    picture = f"/slides/{one.name}/crop.jpg?x={x}&y={y}&w={width:.6g}&h={height:.6g}&px={_PICTURE_PX}"
    return {
        "slide": one.name,
        "slide_id": one.slide_id,
        "patient_id": one.patient_id,
        "xy": [x, y],
        "size": [width, height],
        "cosine": round(cosine, 4),
        "picture": picture if one.name is not None else None,
        "training": one.training,
    }
