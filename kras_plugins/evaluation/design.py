"""How scores were made, which their intervals depend on: folds, sites, and how many models were fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool


@dataclass(frozen=True)
class Design:
    """Who may be compared with whom, and whose scores depend on each other.

    `fold`: int[repeat patient]; patients are only compared within a fold of a repeat. `site`: of each patient, "" if
    unknown; empty if no site is known at all. `fitted`: the number of folds K whose models were fitted on the
    others, 1 for scores of one model and for scores without any fit.
    """

    fold: npt.NDArray[np.int_]
    site: Sequence[str] = ()
    fitted: int = 1

    @property
    def inflation(self) -> float:
        """The factor that widens the standard error of one cohort's scores for what refitting would change.

        Any two of the K models share most of their training patients, and each patient both tests one and trains the
        others. Nadeau & Bengio 2003 (Mach Learn 52:239) put the correlation of two folds at the test part's share 1/K:
        the variance of the mean over K folds is then 1 + K/(K-1) times that of independent ones. √2.25 for five folds.
        """
        return math.sqrt(1 + self.fitted / (self.fitted - 1)) if self.fitted > 1 else 1.0

    def of(self, patients: Bool) -> Design:
        """The same for a subset, bool[patient]."""
        site = [s for s, here in zip(self.site, patients, strict=True) if here] if self.site else ()
        return Design(self.fold[:, patients], site, self.fitted)

    def unfitted(self) -> Design:
        """The same for scores that did not use any fold's labels."""
        return replace(self, fitted=1)

    @property
    def cross_validated(self) -> bool:
        """Whether patients lie in several folds or repeats."""
        return len(self.fold) > 1 or len(np.unique(self.fold)) > 1

    @property
    def clusters(self) -> npt.NDArray[np.intp] | None:
        """The number of each patient's site, intp[patient], its own number if unknown; None without any site."""
        if not any(self.site):
            return None
        own = [site or f"\0{i}" for i, site in enumerate(self.site)]  # no site is named so
        return np.unique(np.array(own, np.str_), return_inverse=True)[1]


def one_cohort(patients: int, site: Sequence[str] = ()) -> Design:
    """Everyone scored by one model: a single fold in a single repeat."""
    return Design(np.zeros((1, patients), np.int_), site)
