"""Baselines without an image model: prevalence, histology, clinical covariates, lymphocyte density, site.

Each is fitted on training patients only: those in scope, except for histology alone, which is meaningful for all.
Prevalence and histology rank by constants and give the rates of training patients as probabilities; the others rank by
what was learned in the fold. A baseline that ranks the training patients no better than chance out of fold has learned
nothing and gives the prevalence. Otherwise the rates of groups that are shared evenly between folds would rank
backwards, since a fold with more positives of a group leaves fewer in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.histology import histology_groups
from kras_plugins.evaluation.logistic import apply_logistic, fit_logistic
from kras_plugins.evaluation.scores import Scores
from kras_plugins.evaluation.thresholds import constant_thresholds

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

PREVALENCE = "prevalence"
HISTOLOGY_ONLY = "histology_only"
CLINICAL = "clinical"
TIL_ONLY = "til_only"
SITE_ONLY = "site_only"

BASELINES = (PREVALENCE, HISTOLOGY_ONLY, CLINICAL, TIL_ONLY, SITE_ONLY)
"""Baselines of what is known without a slide or its model."""

Frozen = Mapping[str, Any]
"""A fitted baseline, plain JSON: rates by group (the group "" is everyone), or a small logistic regression."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What baselines may use, one element per patient.

    `histology`: as stated, unknown if empty; `site`: "" if unknown; `clinical`: texts by column; `til`: the
    lymphocyte density named `til_name`, float64[patient], NaN if unknown.
    """

    histology: Sequence[str | None]
    site: Sequence[str] = ()
    clinical: Mapping[str, Sequence[str]] = field(default_factory=dict)
    til: Float64 | None = None
    til_name: str = ""

    def of(self, patients: Bool) -> Known:
        """The same for a subset, bool[patient]."""
        here = np.flatnonzero(patients).tolist()
        return Known(
            histology=[self.histology[i] for i in here],
            site=[self.site[i] for i in here] if self.site else (),
            clinical={name: [values[i] for i in here] for name, values in self.clinical.items()},
            til=None if self.til is None else self.til[here],
            til_name=self.til_name,
        )


def fitted_baseline(classifier: str) -> str:
    """The name of a classifier as a baseline, which a study fits in addition to its members, on the same inputs."""
    return f"{classifier}_only"


def fit_rates(labels: npt.ArrayLike, groups: Sequence[str] | None = None) -> dict[str, float]:
    """Rates of training patients: of all of them under "", and of each group if given.

    A group's rate is (k + ½)/(n + 1), Jeffreys' posterior mean, since 0 of 464 does not mean a probability of 0.
    """
    y = np.asarray(labels) > 0
    rates = {"": _rate(y)}
    for group in sorted(set(groups or ()) - {""}):
        member = np.array([g == group for g in groups or ()])
        rates[group] = float((y[member].sum() + 0.5) / (member.sum() + 1))
    return rates


def fit_site_rates(labels: npt.ArrayLike, sites: Sequence[str]) -> dict[str, float]:
    """Rates of training patients by site, each with one patient of the average rate added: a site of a single
    negative patient must not rank above one of a hundred, as half a positive added to each would make it."""
    y = np.asarray(labels) > 0
    rates = {"": _rate(y)}
    for site in sorted(set(sites) - {""}):
        member = np.array([s == site for s in sites])
        rates[site] = float((y[member].sum() + rates[""]) / (member.sum() + 1))
    return rates


def _rate(y: Bool) -> float:
    """The share of positives, smoothed if it would be 0 or 1."""
    return float(y.mean()) if 0 < y.sum() < len(y) else float((y.sum() + 0.5) / (len(y) + 1))


def baseline_scores(
    labels: npt.ArrayLike,
    known: Known,
    fold: npt.NDArray[np.int_],
    in_scope: Bool | None = None,
) -> dict[str, Scores]:
    """The baselines in cross-validation; a patient's score comes from the training part of its fold.

    `fold`: int[repeat patient]; `in_scope`: bool[patient], all if None. Only baselines that can be computed are
    returned; `why_absent` explains the others. The scores on which a fold's thresholds are set come from models that
    saw neither that fold nor the patient's own, except for plain rates of histology: the other outer folds serve as
    inner folds.
    """
    y = np.asarray(labels) > 0
    scope = np.ones(len(y), bool) if in_scope is None else in_scope
    result = {}
    for name in _computable(known, fold, scope):
        who = np.ones(len(y), bool) if name == HISTOLOGY_ONLY else scope
        inner = np.full((len(fold), int(fold.max()) + 1, len(y)), np.nan)
        logit = np.full(fold.shape, np.nan)
        learned = tuple(
            _cross_validate(_BASELINES[name], y, known, fold[r], who, inner[r], logit[r]) for r in range(len(fold))
        )
        rank = _BASELINES[name].rank
        result[name] = Scores(
            logit=logit,
            rank=None if rank is None else np.tile(rank(known), (len(fold), 1)),
            fitted=rank is None,
            learned=learned if rank is None else None,
            inner=inner,
        )
    return result


def frozen_baselines(
    labels: npt.ArrayLike, known: Known, names: Sequence[str], in_scope: Bool | None = None
) -> dict[str, Frozen]:
    """The named baselines fitted on all training patients, for the bundle: plain JSON values.

    `in_scope`: bool[patient], all if None.
    """
    y = np.asarray(labels) > 0
    everyone = np.ones(len(y), bool)
    frozen: dict[str, Frozen] = {}
    for name in names:
        who = everyone if in_scope is None or name == HISTOLOGY_ONLY else in_scope
        frozen[name] = _BASELINES[name].fit(y[who], known.of(who))
    return frozen


def apply_baselines(
    frozen: Mapping[str, Frozen], known: Known, thresholds: Mapping[str, Mapping[str, float | None]]
) -> dict[str, Scores]:
    """Frozen baselines on an external cohort; `thresholds` by baseline and rule, as in the bundle.

    A baseline is omitted if this cohort has none of its inputs, such as the sites of training.
    """
    n = len(known.histology)
    result = {}
    for name, fitted in frozen.items():
        baseline = _BASELINES[name]
        logit = baseline.logit(fitted, known)
        if baseline.needs is not None and not baseline.needs(fitted, known):
            continue
        result[name] = Scores(
            logit=logit[None],
            thresholds=constant_thresholds(thresholds.get(name, {}), n),
            rank=None if baseline.rank is None else baseline.rank(known)[None],
            fitted=baseline.rank is None,
        )
    return result


def why_absent(known: Known, fold: npt.NDArray[np.int_], in_scope: Bool) -> list[str]:
    """A sentence for each baseline that cannot be computed, and which feature til_only ranks by."""
    there, known = _computable(known, fold, in_scope), known.of(in_scope)
    notes = []
    if CLINICAL not in there:
        notes.append("No clinical baseline: the cohort has no clinical covariate (sex, age, stage, smoking, specimen).")
    else:
        notes.append(f"The clinical baseline uses {', '.join(['histology', *known.clinical])}.")
    if TIL_ONLY not in there:
        reason = (
            f"{known.til_name} is unknown or the same for every patient"
            if known.til_name
            else "there is no lymphocyte density among the features (run.til_feature names one)"
        )
        notes.append(f"No til_only baseline: {reason}.")
    else:
        notes.append(f"til_only ranks by the feature {known.til_name}.")
    if SITE_ONLY not in there:
        few = len(set(known.site) - {""}) < 2
        reason = "fewer than two sites are stated" if few else "no patient's site is in the training part of its fold"
        notes.append(f"No site_only baseline: {reason}.")
    return notes


def frozen_inputs(frozen: Mapping[str, Frozen]) -> tuple[list[str], str | None]:
    """The clinical columns and the lymphocyte density that a bundle's baselines were fitted on."""
    encoders = frozen.get(CLINICAL, {}).get("encoders", ())
    return [e["column"] for e in encoders if e["column"] != "histology"], frozen.get(TIL_ONLY, {}).get("feature")


@dataclass(frozen=True, kw_only=True)
class _Baseline:
    """How a baseline is fitted on training patients, and how it then scores any patient.

    `rank`: what it ranks by if that is a constant and not a logit; `needs`: whether a cohort has what a fitted baseline
    needs (None: every cohort has); `in_sample`: whether thresholds may be set on the patients that it was fitted on,
    since a rate over many patients cannot follow any single one.
    """

    fit: Callable[[Bool, Known], dict[str, Any]]
    logit: Callable[[Frozen, Known], Float64]
    rank: Callable[[Known], Float64] | None = None
    needs: Callable[[Frozen, Known], bool] | None = None
    in_sample: bool = False


def _computable(known: Known, fold: npt.NDArray[np.int_], in_scope: Bool) -> list[str]:
    found = [PREVALENCE]
    if {"adenocarcinoma", "other"} <= set(histology_groups(known.histology)):
        found.append(HISTOLOGY_ONLY)
    known, fold = known.of(in_scope), fold[:, in_scope]
    if known.clinical:
        found.append(CLINICAL)
    if known.til is not None and len(np.unique(known.til[np.isfinite(known.til)])) > 1:
        found.append(TIL_ONLY)
    if len(set(known.site) - {""}) > 1 and _site_is_shared(known.site, fold):
        found.append(SITE_ONLY)
    return found


def _site_is_shared(sites: Sequence[str], fold: npt.NDArray[np.int_]) -> bool:
    """Whether any site lies in two folds of a repeat, so that training patients inform about it."""
    site = np.asarray(sites)
    return any(len(np.unique(f[site == s])) > 1 for f in fold for s in set(site.tolist()) - {""})


def _cross_validate(
    baseline: _Baseline, y: Bool, known: Known, fold: npt.NDArray[np.int_], who: Bool, inner: Float64, logit: Float64
) -> tuple[bool, ...]:
    """Fill one repeat's inner[fold patient] and logit[patient] from `who`; whether each fold learned anything."""
    made: dict[frozenset[int], Float64] = {}
    learned = []

    def without(*left_out: int) -> Float64:
        key = frozenset(left_out)
        if key not in made:
            train = who & ~np.isin(fold, left_out)
            made[key] = baseline.logit(baseline.fit(y[train], known.of(train)), known)
        return made[key]

    every = np.unique(fold).tolist()
    for k in every:
        test, every_logit = fold == k, without(k)
        logit[test] = every_logit[test]
        for j in every:
            if j != k:
                # With two folds, leaving out both leaves nothing to fit on.
                scores = every_logit if baseline.in_sample or len(every) < 3 else without(j, k)
                own = who & (fold == j)
                inner[k, own] = scores[own]
        train = np.isfinite(inner[k])
        found = baseline.in_sample or len(every) < 3 or _ranks(y, inner[k], fold, train)
        if not found:
            logit[test] = inner[k, train] = _logits({"": _rate(y[train])}, [""])[0]
        learned.append(found)
    return tuple(learned)


def _ranks(y: Bool, scores: Float64, fold: npt.NDArray[np.int_], who: Bool) -> bool:
    """Whether scores rank better than chance within folds."""
    return auroc(y[who], scores[who], Design(fold[None, who])).value > 0.5


def _logits(rates: Mapping[str, float], groups: Sequence[str]) -> Float64:
    rate = np.array([rates.get(g, rates[""]) for g in groups], np.float64)
    with np.errstate(divide="ignore"):
        logit: Float64 = np.log(rate) - np.log1p(-rate)
    return logit


def _histology_rank(known: Known) -> Float64:
    """1 for adenocarcinoma, 0 for the rest, ½ if unknown."""
    order = {"adenocarcinoma": 1.0, "other": 0.0}
    return np.array([order.get(g, 0.5) for g in histology_groups(known.histology)])


def _sites(known: Known) -> Sequence[str]:
    return known.site or [""] * len(known.histology)


def _clinical(known: Known) -> dict[str, Sequence[str]]:
    return {"histology": histology_groups(known.histology), **known.clinical}


def _til(known: Known) -> dict[str, Sequence[str]]:
    return {} if known.til is None else {"til": ["" if np.isnan(v) else repr(float(v)) for v in known.til]}


def _everyone(known: Known) -> Sequence[str]:
    return [""] * len(known.histology)


def _histology(known: Known) -> Sequence[str]:
    return histology_groups(known.histology)


def _by_rate(
    group: Callable[[Known], Sequence[str]],
    rates: Callable[[Bool, Sequence[str]], dict[str, float]] = fit_rates,
    rank: Callable[[Known], Float64] | None = None,
    needs: Callable[[Frozen, Known], bool] | None = None,
    in_sample: bool = False,
) -> _Baseline:
    """Score a patient by the rate of its group among the training patients."""

    def fit(y: Bool, known: Known) -> dict[str, Any]:
        return rates(y, group(known))

    def logit(fitted: Frozen, known: Known) -> Float64:
        return _logits(fitted, group(known))

    return _Baseline(fit=fit, logit=logit, rank=rank, needs=needs, in_sample=in_sample)


def _by_regression(
    columns: Callable[[Known], dict[str, Sequence[str]]], needs: Callable[[Frozen, Known], bool]
) -> _Baseline:
    """Score a patient by a small logistic regression on columns."""

    def fit(y: Bool, known: Known) -> dict[str, Any]:
        return fit_logistic(y, columns(known))

    def logit(fitted: Frozen, known: Known) -> Float64:
        return apply_logistic(fitted, columns(known), len(known.histology))

    return _Baseline(fit=fit, logit=logit, needs=needs)


def _with_feature(baseline: _Baseline) -> _Baseline:
    """The same baseline, which also records the feature of the lymphocyte density."""

    def fit(y: Bool, known: Known) -> dict[str, Any]:
        return {**baseline.fit(y, known), "feature": known.til_name}

    return replace(baseline, fit=fit)


def _all_alike(known: Known) -> Float64:
    return np.full(len(known.histology), 0.5)


def _any_covariate(_: Frozen, known: Known) -> bool:
    return any(set(values) - {""} for values in known.clinical.values())


def _any_density(_: Frozen, known: Known) -> bool:
    return known.til is not None and bool(np.isfinite(known.til).any())


def _any_site_of_training(fitted: Frozen, known: Known) -> bool:
    return bool(set(fitted) & set(_sites(known)) - {""})


_BASELINES = {
    PREVALENCE: _by_rate(_everyone, rank=_all_alike, in_sample=True),
    HISTOLOGY_ONLY: _by_rate(_histology, rank=_histology_rank, in_sample=True),
    CLINICAL: _by_regression(_clinical, needs=_any_covariate),
    TIL_ONLY: _with_feature(_by_regression(_til, needs=_any_density)),
    SITE_ONLY: _by_rate(_sites, fit_site_rates, needs=_any_site_of_training),
}
