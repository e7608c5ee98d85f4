"""Reports where a classifier looks at part of a patient's tiles only: such a score says nothing of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import Bag
from kras_plugins.learning.guard import Called, call

if TYPE_CHECKING:
    from kras_plugins.contracts.classifier import Classifier
    from kras_plugins.learning.bundle import Bundle
    from kras_plugins.learning.fits import Member
    from kras_plugins.learning.samples import Case
    from kras_plugins.study.session import Processed, Session


def most_in_training(members: Sequence[Member]) -> dict[str, int]:
    """By member, how many of a patient's tiles it looks at; without those that look at all, or at none."""
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
    """What the slides gave with a note for each member that does not look at all tiles, which is reported at once."""
    tiles = [sum(len(bag.features) for bag in case.sample.bags) for case in cases]
    notes = [text for name, limit in most.items() if (text := tiles_seen(name, tiles, limit))]
    for text in notes:
        session.notify.note(text)
    return replace(processed, notes=(*processed.notes, *notes))


def tiles_seen(name: str, tiles: Sequence[int], most: int) -> str:
    """How many patients have more than `most` of tiles[patient], and the median share of theirs that is seen."""
    had = np.array([n for n in tiles if n])
    cut = had[had > most]
    if not len(cut):
        return ""
    return (
        f"Classifier {name} looks at {most} tiles of a patient at most: {len(cut)} of {len(had)} patients have more, "
        f"of which it sees {np.median(most / cut):.0%} in the median."
    )


def _stated(classifiers: Iterable[tuple[str, Classifier]]) -> dict[str, int]:
    found = ((name, getattr(classifier, "most_tiles", None)) for name, classifier in classifiers)
    return {name: most for name, most in found if isinstance(most, int)}
