"""Scores of fitted models when some features of each patient are exchanged for those of another.

Nothing is refitted: this is the part of a permutation importance (Breiman 2001, Mach Learn 45:5) that needs models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.data import Sample
from kras_plugins.learning.guard import predict
from kras_plugins.learning.inputs import conform
from kras_plugins.learning.outer_models import outer_model
from kras_plugins.learning.plan import derive_seed
from kras_plugins.learning.tabular import profile_of
from kras_plugins.semantics.features.table import BY_NAME, GROUPS

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64
    from kras_plugins.learning.bundle import Bundle, MemberModels
    from kras_plugins.learning.experiment import Experiment
    from kras_plugins.learning.fits import Member

OTHER = "other"
"""The group of features that are not in the feature table."""
_PHENOTYPE = BY_NAME["ip_class"].group


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Patients that one fitted model scores, none of whom it learned from.

    `patients`: int[patient], their indices in the study; `score` gives float64[sample] of any samples.
    """

    patients: npt.NDArray[np.intp]
    score: Callable[[Sequence[Sample]], Float64]


def feature_groups(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The available features of each group of the feature table, in its order; those not in it as `other`."""
    found: dict[str, list[str]] = {group: [] for group in (*GROUPS, OTHER)}
    for name in names:
        found[BY_NAME[name].group if name in BY_NAME else OTHER].append(name)
    return {group: tuple(own) for group, own in found.items() if own}


def fold_models(experiment: Experiment, member: Member, patients: npt.NDArray[np.intp]) -> list[Scored]:
    """The first repeat's outer models of a member, each with those of `patients` that lie in its test fold.

    Raises PluginError if a model cannot be loaded.
    """
    found = []
    for k in range(len(experiment.models[member.name])):
        tested = patients[experiment.fold[0, patients] == k]
        if len(tested):
            who, model = outer_model(experiment, member, k)
            score = partial(predict, who, model, doing=f"scoring with its model of fold {k + 1}")
            found.append(Scored(patients=tested, score=score))
    return found


def frozen_models(bundle: Bundle, member: MemberModels, patients: npt.NDArray[np.intp]) -> list[Scored]:
    """All fold models of a bundle's member together, as it scores other cohorts."""

    def score(samples: Sequence[Sample]) -> Float64:
        samples = conform(samples, bundle.inputs)
        raw = [predict(member.who, model.classifier, samples, "scoring") for model in member.folds]
        logits = [model.platt.logit(own) for model, own in zip(member.folds, raw, strict=True)]
        mean: Float64 = np.stack(logits).mean(axis=0)
        return mean

    return [Scored(patients=patients, score=score)]


def plain_scores(models: Sequence[Scored], samples: Sequence[Sample]) -> Float64:
    """The models' scores of unchanged patients, float64[patient]; NaN for patients of no model."""
    found = np.full(len(samples), np.nan)
    for model in models:
        found[model.patients] = model.score([samples[i] for i in model.patients])
    return found


def shuffled_scores(
    models: Sequence[Scored],
    samples: Sequence[Sample],
    features: Collection[str],
    permutations: int,
    seed: int,
    *,
    group: str = "",
) -> Float64:
    """Scores when `features` are permuted among the patients of each model: float64[permutation patient].

    A patient gets all of them from one other patient, so that correlations among them are kept; missing values move
    along, and so does the validity of their `group`. Permutation b of a model's patients is the same for any choice of
    features. Profiles have the same features in the same order. NaN for patients of no model.
    """
    found = np.full((permutations, len(samples)), np.nan)
    for k, model in enumerate(models):
        own = [samples[i] for i in model.patients]
        columns = np.flatnonzero([name in features for name in profile_of(own[0]).names])
        rng = np.random.default_rng(derive_seed(seed, "importance", k))
        orders = [rng.permutation(len(own)) for _ in range(permutations)]
        mixed = [_exchanged(s, own[j], columns, group) for order in orders for s, j in zip(own, order, strict=True)]
        found[:, model.patients] = model.score(mixed).reshape(permutations, len(own))
    return found


def _exchanged(sample: Sample, other: Sample, columns: npt.NDArray[np.intp], group: str) -> Sample:
    """A sample with the features at `columns`, and the validity of a group, of another."""
    mine, yours = profile_of(sample), profile_of(other)
    values = mine.values.copy()
    values[columns] = yours.values[columns]
    valid = {flag: (yours if _group(flag) == group else mine).valid[flag] for flag in mine.valid}
    # The immune phenotype may be called again from squares, which are of its group.
    squares = (yours if group == _PHENOTYPE else mine).squares
    return replace(sample, profile=replace(mine, values=values, valid=valid, squares=squares))


def _group(flag: str) -> str:
    return flag if flag in GROUPS else OTHER
