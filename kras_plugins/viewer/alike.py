"""The tiles most like a chosen one: in its slide and, where their features are still stored, in the training cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kras_plugins.errors import KrasError
from kras_plugins.probing.retrieval import nearest

if TYPE_CHECKING:
    from kras_plugins.data import Bag

MOST_BYTES = 1 << 31
"""Bytes of features that are searched at a click: some seconds from a disk."""
_PICTURE_PX = 160


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A bag to search. `name`: of the slide in addresses, None where it is not shown; `training`: of the bundle's."""

    bag: Bag
    slide_id: str
    patient_id: str
    name: str | None
    training: bool


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Searches `own`, the slide itself, and `others`; `absent`: slides of the training cohort that are not there."""

    own: Searched
    others: Sequence[Searched] = ()
    absent: int = 0

    def __call__(self, x: float, y: float, n: int) -> Mapping[str, Any]:
        """What the address `similar` answers for a point in level-0 pixels."""
        searched = self._affordable()
        bags = [replace(one.bag, slide_id=str(i)) for i, one in enumerate(searched)]
        try:
            found = nearest(bags, "0", (x, y), n)
        except KrasError:
            return {"of": "There is no analyzed tile here.", "hits": []}
        return {"of": self._of(searched), "hits": [_told(searched[int(h.slide_id)], h.xy, h.cosine) for h in found[1:]]}

    def _affordable(self) -> list[Searched]:
        """The slide itself, and others of the same encoder as long as there is time for them."""
        kind = (self.own.bag.encoder, self.own.bag.transform_hash, self.own.bag.features.shape[1])
        kept, room = [self.own], MOST_BYTES
        for one in self.others:
            same = (one.bag.encoder, one.bag.transform_hash, one.bag.features.shape[1]) == kind
            room -= one.bag.features.nbytes if same else 0
            if same and room >= 0:
                kept.append(one)
        return kept

    def _of(self, searched: Sequence[Searched]) -> str:
        tiles = sum(len(one.bag.xy) for one in searched)
        text = f"{tiles:,} tiles of this slide"
        every = len(self.others) + self.absent
        if not every:
            return f"{text}; no slide of the training cohort is in the store."
        return f"{text} and of {len(searched) - 1:,} of {every:,} slides of the training cohort (in the store)."


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
