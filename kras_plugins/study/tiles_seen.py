"""Reports if a classifier looks at only part of a patient's tiles, and if features have no place on the slide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.data import Bag, of_extractor, split_extractor
from kras_plugins.learning.guard import Called, call

if TYPE_CHECKING:
    from kras_plugins.contracts.classifier import Classifier
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.fits import Member
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.session import Processed, Session


def most_in_training(members: Sequence[Member]) -> dict[str, int]:
    """By member, how many of a patient's tiles it looks at; without members that look at all or none."""
    return _stated(
        (
            m.name,
            call(
                Called(name=m.name, plugin=m.plugin.name, origin=m.origin),
                "before it is fitted",
                partial(m.plugin.create, m.options, 0),
            ),
        )
        for m in members
        if m.plugin.consumes is Bag
    )


def most_in_bundle(bundle: Bundle) -> dict[str, int]:
    """The same of a bundle's members."""
    return _stated((m.name, m.folds[0].classifier) for m in bundle.members if m.consumes is Bag)


def with_tiles_seen(
    session: Session, processed: Processed, cases: Sequence[Case], most: Mapping[str, int]
) -> Processed:
    """The slides' results, with a note for each member that does not look at all tiles, which is also reported at once.

    There is also a note for each extractor of vectors of whole slides.
    """
    tiles = {name: _counts(cases, split_extractor(name)[1]) for name in most}
    notes = [text for name, limit in most.items() if (text := tiles_seen(name, tiles[name], limit))]
    notes += without_places(processed.facts, cases)
    for text in notes:
        session.notify.note(text)
    return replace(processed, notes=(*processed.notes, *notes))


def without_places(facts: Mapping[str, Any], cases: Sequence[Case]) -> list[str]:
    """A sentence for each extractor of vectors of whole slides; `facts`: those of the parts, as in a manifest."""
    placed: dict[str, bool] = {}
    for bag in (bag for case in cases for bag in case.sample.bags):
        placed[bag.extractor] = placed.get(bag.extractor, False) or bag.placed
    return [
        f"Extractor {facts[of_extractor('extractor', name)]['name']} gives one vector per slide, without a place on "
        "it: what is learned from these has no heat map and no tile to look at."
        for name, any_placed in placed.items()
        if not any_placed
    ]


def _counts(cases: Sequence[Case], extractor: str) -> list[int]:
    """Tiles of each patient."""
    return [sum(len(bag.features) for bag in c.sample.bags if bag.extractor == extractor) for c in cases]


def tiles_seen(name: str, tiles: Sequence[int], most: int) -> str:
    """How many patients have more than `most` of tiles[patient], and the median share of their tiles that is seen."""
    had = np.array([n for n in tiles if n])
    cut = had[had > most]
    if not len(cut):
        return ""
    return (
        f"Classifier {name} looks at {most} tiles of a patient at most: {len(cut)} of {len(had)} patients have more; "
        f"the median share of their tiles that it sees is {np.median(most / cut):.0%}."
    )


def _stated(classifiers: Iterable[tuple[str, Classifier]]) -> dict[str, int]:
    found = ((name, getattr(classifier, "most_tiles", None)) for name, classifier in classifiers)
    return {name: most for name, most in found if isinstance(most, int)}
