"""How well features distinguish classes: nearest neighbors and logistic regression, cross-validated by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64

NEIGHBORS = 20
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths that the logistic probe chooses from, inside each training part."""
DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Score:
    """Balanced accuracy (mean recall of the classes; 1 / classes by chance) with its 95 % interval, and its parts.

    `right`: float64[tile], share of the seeds in which a tile's class was predicted when its group was held out.
    """

    value: float
    low: float
    high: float
    by_class: Mapping[str, float]
    by_seed: tuple[float, ...]
    right: Float64


def probe(
    features: Float32, labels: Sequence[str], groups: Sequence[str], *, seeds: int = 5, folds: int = 5
) -> dict[str, Score]:
    """Scores by `knn` and `logistic` of features float32[tile d].

    Folds contain whole groups, and classes as evenly as these allow; scaling, neighbors and penalty see training folds
    only. Intervals: percentiles of 2,000 bootstrap draws of groups. Raises ConfigError if a class is in one group only.
    """
    y, members = np.asarray(labels), np.asarray(groups)
    fewest = min((len(set(members[y == c])), c) for c in np.unique(y))
    if fewest[0] < 2:
        raise ConfigError(
            f"class {fewest[1]} lies in a single group", "each class needs two groups: one to learn from, one to test"
        )
    folds = min(folds, len(np.unique(members)))
    return {
        name: _score(features, y, members, make, seeds, folds)
        for name, make in (("knn", _knn), ("logistic", _logistic))
    }


def compare(a: Score, b: Score, labels: Sequence[str], groups: Sequence[str]) -> tuple[float, float, float]:
    """`a.value - b.value` and its 95 % interval, both scored on the same tiles; draws of groups are shared."""
    y, members = np.asarray(labels), np.asarray(groups)
    gain = _draws(a.right, y, members) - _draws(b.right, y, members)
    low, high = np.percentile(gain, [2.5, 97.5])
    return a.value - b.value, float(low), float(high)


def _knn(n: int) -> Any:
    return make_pipeline(
        StandardScaler(), Normalizer(), KNeighborsClassifier(max(1, min(NEIGHBORS, n // 4)), weights=_nearness)
    )


def _nearness(distances: Float64) -> Float64:
    """exp(cosine / 0.07), the weights of DINO's evaluation; distances are those of unit vectors."""
    return np.exp((1 - distances**2 / 2) / 0.07)


def _logistic(_n: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))


def _score(x: Float32, y: Any, groups: Any, make: Callable[[int], Any], seeds: int, folds: int) -> Score:
    right = np.zeros((seeds, len(y)))
    for seed in range(seeds):
        splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for train, test in splits.split(x, y, groups):
            right[seed, test] = _fitted(make, x[train], y[train], groups[train], seed).predict(x[test]) == y[test]
    mean = right.mean(axis=0)
    low, high = np.percentile(_draws(mean, y, groups), [2.5, 97.5])
    return Score(
        value=_balanced(mean, y),
        low=float(low),
        high=float(high),
        by_class={str(c): float(mean[y == c].mean()) for c in np.unique(y)},
        by_seed=tuple(_balanced(r, y) for r in right),
        right=mean,
    )


def _fitted(make: Callable[[int], Any], x: Float32, y: Any, groups: Any, seed: int) -> Any:
    model = make(len(y))
    inner = min(3, min(len(np.unique(groups[y == c])) for c in np.unique(y)))
    if make is _logistic and inner >= 2:
        splits = StratifiedGroupKFold(inner, shuffle=True, random_state=seed)
        model = GridSearchCV(
            model,
            {"logisticregression__C": PENALTIES},
            scoring="balanced_accuracy",
            cv=list(splits.split(x, y, groups)),
        )
    return model.fit(x, y)


def _balanced(right: Float64, y: Any) -> float:
    return float(np.mean([right[y == c].mean() for c in np.unique(y)]))


def _draws(right: Float64, y: Any, groups: Any) -> Float64:
    """Balanced accuracy float64[draw] of bootstrap draws of groups; those that miss a class are left out."""
    classes, kinds = np.unique(y, return_inverse=True)
    names, member = np.unique(groups, return_inverse=True)
    hits, counts = np.zeros((2, len(names), len(classes)))
    np.add.at(hits, (member, kinds), right)
    np.add.at(counts, (member, kinds), 1)
    times = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    n = times @ counts
    whole = (n > 0).all(axis=1)
    drawn: Float64 = ((times @ hits)[whole] / n[whole]).mean(axis=1)
    return drawn
