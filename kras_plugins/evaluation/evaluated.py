"""What is evaluated: scores of patients beside what is known of them, from a cross-validation or from a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from kras_plugins.evaluation.baselines import Known, apply_baselines, baseline_scores
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import DEFAULT, Targets, constant_thresholds, fold_thresholds

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Bool
    from kras_plugins.learning.bundle import Bundle, BundleScores
    from kras_plugins.learning.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was scored, and how: one element a patient, in one order throughout.

    `fold`: int[repeat patient], all 0 in one repeat for an external cohort. `members`: the classifiers; `ensemble`:
    their strict mean, NaN where one is missing; `available`: the mean of those there, without thresholds, which do not
    apply to it; `baselines` by name. `subgroups`, `confounders`: columns to look at, the usual ones where None;
    `clinical`: what the clinical baseline knows.
    """

    patients: Sequence[Patient]
    labels: npt.NDArray[np.int8]
    fold: npt.NDArray[np.int_]
    members: Mapping[str, Scores]
    ensemble: Scores
    available: Scores
    baselines: Mapping[str, Scores]
    subgroups: Sequence[str] | None = None
    confounders: Sequence[str] | None = None
    clinical: Sequence[str] = ()

    @classmethod
    def from_cross_validation(
        cls,
        experiment: Experiment,
        patients: Sequence[Patient],
        known: Known,
        targets: Targets = DEFAULT,
        *,
        subgroups: Sequence[str] | None = None,
        confounders: Sequence[str] | None = None,
    ) -> Self:
        """Out-of-fold scores with the thresholds of each fold's training part, and the baselines beside them.

        `patients`: in the order of the experiment's; `known`: what baselines may look at.
        """
        labels, fold = experiment.labels, experiment.fold.astype(np.int_)
        told = targets.provenance("inner out-of-fold scores of the training part of each patient's fold")
        members = {
            m.name: Scores(
                logit=experiment.logit[m.name],
                thresholds=fold_thresholds(labels, experiment.inner[m.name], fold, targets),
                provenance=told,
                raw=experiment.raw[m.name],
                slopes=tuple(tuple(line.slope for line in repeat) for repeat in experiment.platt[m.name]),
                inner=experiment.inner[m.name],
            )
            for m in experiment.members
        }
        baselines = baseline_scores(labels, known, fold, targets)
        return cls(
            patients=patients,
            labels=labels,
            fold=fold,
            members=members,
            ensemble=Scores(
                logit=experiment.ensemble.strict,
                thresholds=fold_thresholds(labels, experiment.inner_ensemble, fold, targets),
                provenance=told,
                inner=experiment.inner_ensemble,
            ),
            available=Scores(logit=experiment.ensemble.available),
            baselines={name: replace(scores, provenance=told) for name, scores in baselines.items()},
            subgroups=subgroups,
            confounders=confounders,
            clinical=tuple(known.clinical),
        )

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        scores: BundleScores,
        patients: Sequence[Patient],
        known: Known,
        *,
        subgroups: Sequence[str] | None = None,
        confounders: Sequence[str] | None = None,
    ) -> Self:
        """What a bundle says of patients that it never saw, with the thresholds and baselines that are frozen in it.

        `scores`: the bundle's, of these patients, who all have a label; `known`: what its baselines may look at here.
        """
        n = len(patients)
        thresholds = {name: constant_thresholds(t, n) for name, t in bundle.thresholds.items()}
        told = bundle.provenance.get("thresholds", {})
        baselines = apply_baselines(bundle.facts["baselines"], known, bundle.thresholds)
        return cls(
            patients=patients,
            labels=np.array([p.label for p in patients], np.int8),
            fold=np.zeros((1, n), np.int32),
            members={
                m: Scores(
                    logit=logit[None],
                    thresholds=thresholds[m],
                    by_fold=scores.by_fold[m],
                    provenance=told.get(m, {}),
                )
                for m, logit in scores.members.items()
            },
            ensemble=Scores(
                logit=scores.ensemble.strict[None],
                thresholds=thresholds["ensemble"],
                by_fold=scores.ensemble_by_fold,
                provenance=told.get("ensemble", {}),
            ),
            available=Scores(logit=scores.ensemble.available[None]),
            baselines={b: replace(s, provenance=told.get(b, {})) for b, s in baselines.items()},
            subgroups=subgroups,
            confounders=confounders,
            clinical=tuple(known.clinical),
        )

    @property
    def complete(self) -> Bool:
        """bool[patient]: those with a score from every member; the primary tables hold them."""
        return self.ensemble.scored
