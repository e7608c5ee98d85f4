"""A permutation test of everything that was fitted: labels are shuffled within groups, and all is refitted.

Labels are exchangeable within a group (a histology, a site): under the null hypothesis, the inputs carry no information
about the label within a group. What the group itself reveals stays in every permutation, so it adds nothing to the
statistic.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import ConfigError
from kras_plugins.learning.plan import derive_seed
from kras_plugins.store import Key, Store, make_key

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

    Labels = npt.NDArray[np.int8]
    Refit = Callable[[int, Labels, Store], float]

_ROUNDING = 1e-9
"""Statistics that differ by less are equal: the same areas may be summed in another order."""
_VALUE = "statistic.json"


@dataclass(frozen=True, kw_only=True)
class PermutationTest:
    """A statistic whose large values are evidence against the null, and the same under permuted labels.

    `permuted`: float64[permutation], NaN if those labels could not be fitted or give no statistic.
    """

    observed: float
    permuted: Float64

    @property
    def p(self) -> float:
        """(1 + permutations that reach the observed value) / (1 + permutations); NaN without any, or without a value.

        The original labels count as one permutation, so that p is valid and never 0 (Phipson & Smyth, Stat Appl
        Genet Mol Biol 2010;9:39). A permutation that could not be fitted counts as having reached it.
        """
        if math.isnan(self.observed) or not len(self.permuted):
            return math.nan
        reached = ~(self.permuted < self.observed - _ROUNDING)
        return float((1 + reached.sum()) / (1 + len(self.permuted)))

    @property
    def failed(self) -> int:
        """How many permutations have no value."""
        return int(np.isnan(self.permuted).sum())

    @property
    def null_mean(self) -> float:
        """Mean over the permutations that have a value; NaN if none has."""
        known = self.permuted[np.isfinite(self.permuted)]
        return float(known.mean()) if len(known) else math.nan


def arrangements(labels: npt.ArrayLike, groups: Sequence[Hashable]) -> int:
    """The number of ways to place each group's positives among its patients; with 1, nothing can be permuted."""
    sizes, positives = Counter(groups), Counter(g for g, y in zip(groups, np.asarray(labels), strict=True) if y > 0)
    return math.prod(math.comb(n, positives[group]) for group, n in sizes.items())


def draw(labels: npt.ArrayLike, groups: Sequence[Hashable], permutations: int, seed: int) -> npt.NDArray[np.int8]:
    """Labels shuffled within groups, int8[permutation patient]; permutation b does not depend on their number."""
    y = np.asarray(labels, np.int8)
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    code = np.array([number[group] for group in groups], np.intp)
    place = np.argsort(code, kind="stable")
    drawn = np.empty((permutations, len(y)), np.int8)
    for b in range(permutations):
        rng = np.random.default_rng(derive_seed(seed, "permutation", b))
        drawn[b, place] = y[np.lexsort((rng.random(len(y)), code))]
    return drawn


def permutation_test(
    observed: float,
    drawn: npt.NDArray[np.int8],
    refit: Refit,
    *,
    store: Store,
    made_from: Key,
    ahead: Callable[[int, float], None] | None = None,
) -> PermutationTest:
    """The observed statistic against that of a refit for each of the permuted labels, int8[permutation patient].

    `refit(b, labels, scratch)` refits everything and gives the statistic; `scratch` is a separate store that is deleted
    afterwards. Each value is stored in `store`, so a killed test resumes with the same result. `made_from`: all that
    the statistic depends on except the labels. `ahead(refits, seconds)`: called with what is left after the first refit
    was timed. Labels that cannot be fitted (ConfigError) give NaN.
    """
    keys = [_key(made_from, labels) for labels in drawn]
    missing = len({key for key in keys if store.find(key) is None})
    values, measured = [], False
    for b, (key, labels) in enumerate(zip(keys, drawn, strict=True)):
        fresh, began = store.find(key) is None, time.monotonic()
        values.append(_kept(store, key, b, labels, refit))
        if fresh and not measured and ahead is not None and missing > 1:
            ahead(missing - 1, (missing - 1) * (time.monotonic() - began))
        measured = measured or fresh
    return PermutationTest(observed=observed, permuted=np.array(values, np.float64))


def _key(made_from: Key, labels: Labels) -> Key:
    return make_key("permutation", made_from=made_from.digest, labels="".join(map(str, labels.tolist())))


def _kept(store: Store, key: Key, b: int, labels: Labels, refit: Refit) -> float:
    """The statistic of one refit, from the store if it is there."""

    def build(folder: Path) -> None:
        scratch = folder / "fits"
        value = refit(b, labels, Store(scratch))
        shutil.rmtree(scratch, ignore_errors=True)
        (folder / _VALUE).write_text(json.dumps(None if math.isnan(value) else value), encoding="utf-8", newline="\n")

    try:
        value = json.loads((store.make(key, build) / _VALUE).read_text())
    except ConfigError:
        return math.nan
    return math.nan if value is None else float(value)
