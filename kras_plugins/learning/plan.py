"""Which patients each fit of one outer fold sees: decided, and checked for leaks, before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.splits import Scheme, folds, holdout
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool

    Index = npt.NDArray[np.intp]

VALID_FRACTION = 0.2
"""Share of a training part that is held out for early stopping."""


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """What splitting needs to know of patients, one element each.

    Labels of 0 and 1, strata, sites ("" unknown), and `in_scope`, bool[patient]: those who can get a call.
    """

    labels: npt.NDArray[np.int8]
    strata: Sequence[str]
    sites: Sequence[str]
    in_scope: Bool

    def of(self, index: Index) -> Subjects:
        """Some of them, in the order of `index`."""
        return Subjects(
            labels=self.labels[index],
            strata=[self.strata[i] for i in index],
            sites=[self.sites[i] for i in index],
            in_scope=self.in_scope[index],
        )


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One fit: indices of the patients it learns from, stops early on, and scores; and its seed.

    `note`: how the part for early stopping differs from what was asked for, "" if it does not.
    """

    fit: Index
    valid: Index
    score: Index
    seed: int
    note: str = ""


def derive_seed(seed: int, *path: int | str) -> int:
    """A separate seed for each place in the experiment (numpy SeedSequence), below 2³¹."""
    words = [int.from_bytes(p.encode(), "big") if isinstance(p, str) else p for p in path]
    # The lengths distinguish ("a", 1) from ("a\x01",).
    entropy = [seed, len(path), *(x for w in words for x in (w.bit_length(), w))]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)


def inner_assignment(
    subjects: Subjects, train: Index, n_folds: int, scheme: Scheme, seed: int
) -> tuple[npt.NDArray[np.int_], str]:
    """The inner fold of each patient of an outer-training part, and a note ("" if all went as asked).

    Inner folds follow the outer scheme; if too few sites remain for site-preserved folds, they are random. There are
    never more inner folds than patients in the smaller class. Raises ConfigError if that leaves fewer than two.
    """
    part = subjects.of(train)
    labels = part.labels
    smaller = int(min(labels.sum(), len(labels) - labels.sum()))
    possible = min(n_folds, smaller)
    if possible < 2:
        raise ConfigError(
            f"an outer training part has {int(labels.sum())} positive of {len(labels)} patients: "
            "too few to calibrate and set thresholds inside it",
            "add positive patients or use fewer --folds",
        )
    note = (
        ""
        if possible == n_folds
        else f"{possible} inner folds instead of {n_folds}: only {smaller} patients in a class"
    )
    try:
        return folds(labels, part.strata, part.sites, possible, seed, scheme, part.in_scope), note
    except ConfigError as e:
        if scheme == "random":
            raise
        note = f"inner folds are random, not by {scheme}: {e.message}"
        return folds(labels, part.strata, part.sites, possible, seed, "random", part.in_scope), note


def stopping_part(part: Subjects, scheme: Scheme, seed: int) -> tuple[Bool, str]:
    """Who of a training part is held out for early stopping, bool[patient], and a note ("" if all went as asked).

    Like the inner folds it follows the outer scheme: whole sites are held out, or patients if no site can be.
    """
    asked = (part.labels, part.strata, part.sites, VALID_FRACTION, seed)
    try:
        return holdout(*asked, scheme, part.in_scope), ""
    except ConfigError as e:
        if scheme == "random":
            raise
        return holdout(
            *asked, "random", part.in_scope
        ), f"patients for early stopping are held out at random: {e.message}"


def plan_fits(
    subjects: Subjects,
    present: Bool,
    train: Index,
    test: Index,
    inner: npt.NDArray[np.int_],
    seed: int,
    name: str,
    scheme: Scheme = "random",
) -> tuple[Fit, ...]:
    """The fits of one classifier in one outer fold: one for each inner fold, then the outer one.

    `present`: bool[patient], who has what the classifier consumes; the others are excluded. `inner`: the inner fold of
    each patient in `train`. `scheme`: how patients are held out for early stopping. No label of `test` is used.
    Raises ConfigError if a fit would see only one class.
    """
    parts = [(train[inner != k], train[inner == k]) for k in np.unique(inner)] + [(train, test)]
    fits = []
    for i, (learn, score) in enumerate(parts):
        learn, score = learn[present[learn]], score[present[score]]
        cut, note = stopping_part(subjects.of(learn), scheme, derive_seed(seed, "holdout", i))
        own = derive_seed(seed, "model", name, i)
        fits.append(Fit(fit=learn[~cut], valid=learn[cut], score=score, seed=own, note=note))
    for one in fits:
        labels = subjects.labels[one.fit]
        if labels.min(initial=1) == labels.max(initial=0):
            raise ConfigError(
                f"classifier {name}: a training part of {len(labels)} patients has only one class",
                "check how many positive patients have what it consumes, or use fewer --folds",
            )
    return tuple(fits)
