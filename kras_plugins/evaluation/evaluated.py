"""What is evaluated: patients' scores and what is known about them, from a cross-validation or from a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from kras_plugins.evaluation.baselines import Known, apply_baselines, baseline_scores
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import DEFAULT, Targets, choose_thresholds, constant_thresholds, fold_thresholds

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Bool, Float64
    from kras_plugins.learning.bundle import Bundle, BundleScores
    from kras_plugins.learning.experiment import Experiment

FEWEST_POSITIVES = 10
"""With fewer positive patients in scope, no threshold is set."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was scored, and how: one element per patient, in the same order throughout.

    `fold`: int[repeat patient], all 0 in one repeat for an external cohort; `fitted`: how many folds' models were
    fitted, 1 for a bundle's. `members`: the classifiers; `ensemble`: their strict mean, NaN if one is missing;
    `available`: the mean of the available members, without thresholds, which do not apply to it; `baselines` by name.
    `out_of_scope`: why no call is made for a patient, "" for those in scope. `frozen`: the thresholds of a bundle,
    logits by model and rule, None if not set. `subgroups`, `confounders`: columns to examine, the usual ones if None;
    `clinical`: columns of the clinical baseline.
    """

    patients: Sequence[Patient]
    labels: npt.NDArray[np.int8]
    fold: npt.NDArray[np.int_]
    members: Mapping[str, Scores]
    ensemble: Scores
    available: Scores
    baselines: Mapping[str, Scores]
    out_of_scope: Sequence[str]
    frozen: Mapping[str, Mapping[str, float | None]]
    fitted: int = 1
    subgroups: Sequence[str] | None = None
    confounders: Sequence[str] | None = None
    clinical: Sequence[str] = ()

    @classmethod
    def from_cross_validation(
        cls,
        experiment: Experiment,
        patients: Sequence[Patient],
        known: Known,
        out_of_scope: Sequence[str],
        targets: Targets = DEFAULT,
        *,
        subgroups: Sequence[str] | None = None,
        confounders: Sequence[str] | None = None,
    ) -> Self:
        """Out-of-fold scores with the thresholds of each fold's training part, and the baselines.

        `patients`: in the order of the experiment's; `known`: what baselines may use; `out_of_scope`: reasons, for the
        patients who are not in scope in the experiment. Thresholds are set on patients in scope, and none are set with
        fewer than FEWEST_POSITIVES positive ones.
        """
        labels, fold, scope = experiment.labels, experiment.fold.astype(np.int_), experiment.in_scope
        told = targets.provenance("inner out-of-fold scores of in-scope patients in the training part of each fold")
        settled = scope if enough_positives(labels, scope) else np.zeros(len(labels), bool)

        def thresholds(inner: Float64) -> dict[str, Float64]:
            return fold_thresholds(labels, np.where(settled, inner, np.nan), fold, targets)

        fitted = {
            m.name: Scores(
                logit=experiment.logit[m.name],
                thresholds=thresholds(experiment.inner[m.name]),
                provenance=told,
                raw=experiment.raw[m.name],
                in_fold=raw_where_constant(experiment, m.name),
                slopes=tuple(tuple(line.slope for line in repeat) for repeat in experiment.platt[m.name]),
                learned=tuple(tuple(line.slope > 0 for line in repeat) for repeat in experiment.platt[m.name]),
                inner=experiment.inner[m.name],
            )
            for m in (*experiment.members, *experiment.baselines)
        }
        members = {m.name: fitted[m.name] for m in experiment.members}
        ensemble = Scores(
            logit=experiment.ensemble.strict,
            thresholds=thresholds(experiment.inner_ensemble),
            provenance=told,
            in_fold=ensemble_in_fold(experiment),
            # If no member found anything, the ensemble cannot either.
            learned=tuple(
                tuple(any(lines) for lines in zip(*found, strict=True))
                for found in zip(*(scores.learned or () for scores in members.values()), strict=True)
            ),
            inner=experiment.inner_ensemble,
        )
        baselines = baseline_scores(labels, known, fold, scope)
        return cls(
            patients=patients,
            labels=labels,
            fold=fold,
            members=members,
            ensemble=ensemble,
            available=Scores(logit=experiment.ensemble.available),
            baselines={
                name: replace(scores, thresholds=thresholds(scores.inner), provenance=told)
                if scores.inner is not None
                else scores
                for name, scores in baselines.items()
            }
            | {m.name: fitted[m.name] for m in experiment.baselines},
            out_of_scope=out_of_scope,
            frozen={
                name: _frozen(labels, scores.logit[0], settled, targets)
                for name, scores in {**members, "ensemble": ensemble, **baselines}.items()
            },
            fitted=int(fold.max(initial=0)) + 1,
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
        out_of_scope: Sequence[str],
        *,
        subgroups: Sequence[str] | None = None,
        confounders: Sequence[str] | None = None,
    ) -> Self:
        """A bundle's results for patients that it never saw, with the thresholds and baselines that are frozen in it.

        `scores`: the bundle's, of these patients, who all have a label; `known`: what its baselines may use here;
        `out_of_scope`: why no call is made for a patient, "" for those in scope.
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
            out_of_scope=out_of_scope,
            frozen=bundle.thresholds,
            subgroups=subgroups,
            confounders=confounders,
            clinical=tuple(known.clinical),
        )

    @property
    def in_scope(self) -> Bool:
        """bool[patient]: those for whom a call can be made."""
        return np.array([not reason for reason in self.out_of_scope], bool)

    @property
    def complete(self) -> Bool:
        """bool[patient]: those in scope with a score from every member; the primary tables are of them."""
        return self.ensemble.scored & self.in_scope

    @property
    def design(self) -> Design:
        """How all scores were made."""
        return Design(self.fold, [p.site for p in self.patients], self.fitted)


def enough_positives(labels: npt.NDArray[np.int8], in_scope: Bool) -> bool:
    """Whether there are enough positive patients in scope for a threshold."""
    return int(labels[in_scope].sum()) >= FEWEST_POSITIVES


def _frozen(labels: npt.NDArray[np.int8], logit: Float64, settled: Bool, targets: Targets) -> dict[str, float | None]:
    """Thresholds of a bundle from out-of-fold logits of patients in scope, None if not set."""
    chosen = choose_thresholds(labels, np.where(settled, logit, np.nan), targets)
    return {rule: None if np.isnan(t) else t for rule, t in chosen.items()}


def raw_where_constant(experiment: Experiment, name: str) -> Float64:
    """float64[repeat patient]: a member's logits, and its raw scores in folds where the calibration is flat.

    It is only used to compare patients of one fold, so the two scales never mix.
    """
    slope = np.array([[line.slope for line in repeat] for repeat in experiment.platt[name]])
    flat = np.take_along_axis(slope, experiment.fold.astype(np.intp), axis=1) == 0
    return np.where(flat, experiment.raw[name], experiment.logit[name])


def ensemble_in_fold(experiment: Experiment) -> Float64:
    """float64[repeat patient]: the ensemble's logits; in folds where these are all equal, the mean rank of its
    members by `raw_where_constant`."""
    from scipy.stats import rankdata

    found = experiment.ensemble.strict.copy()
    members = [raw_where_constant(experiment, m.name) for m in experiment.members]
    for r, fold in enumerate(experiment.fold):
        for k in np.unique(fold):
            here = np.flatnonzero((fold == k) & np.isfinite(found[r]))
            if len(here) and np.ptp(found[r, here]) == 0:
                found[r, here] = np.mean([rankdata(member[r, here]) for member in members], axis=0)
    return found
