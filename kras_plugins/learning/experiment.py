"""Nested cross-validation by patient: outer folds measure, inner folds calibrate.

Thresholds are set on what the inner folds give: `evaluation/evaluated.py`.

For each repeat, outer fold and classifier, inner folds over the outer-training part give out-of-fold scores, on which
Platt's line is fitted; a model fitted on the whole outer-training part then scores the test fold. Labels of the test
fold never reach the code that fits. Models learn from all patients; calibration and fusion only from those in scope,
since only they get a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kras_plugins.cohort.splits import Scheme
from kras_plugins.cohort.splits import folds as assign_folds
from kras_plugins.data import Sample
from kras_plugins.errors import ConfigError
from kras_plugins.learning.calibration import Platt, fit_platt
from kras_plugins.learning.fits import FitTask, Learners, Member, RunFits, make_fits, one_by_one
from kras_plugins.learning.fusion import Fused, Fusion, Kind, fit_fusion, out_of_fold
from kras_plugins.learning.inputs import Inputs, common_inputs, handed, has_input
from kras_plugins.learning.plan import Subjects, derive_seed, inner_assignment, plan_fits
from kras_plugins.store import Store

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64, Int32

    Progress = Callable[[int, int, str], None]

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All out-of-fold scores of a nested cross-validation, and where the models are.

    `fold`: int32[repeat patient]; `in_scope`: bool[patient]. Per member, NaN if a patient lacks what it consumes: `raw`
    and `logit` float64[repeat patient], out-of-fold scores of the outer models before and after calibration; `inner`
    float64[repeat fold patient], calibrated inner out-of-fold logits of each outer-training part, NaN for its test
    patients: the scores on which that fold's thresholds may be set. `platt[name][repeat][fold]`; `models[name][fold]`:
    folders of the first repeat's outer models, in the store; empty if none were kept. The same for `baselines`, which
    are fitted in the same way but are not part of the ensemble, without models.

    `ensemble`: out-of-fold logits of the members fused, float64[repeat patient]; `inner_ensemble`: like `inner`, of the
    strict ensemble, each patient fused without its inner fold; `fusions[repeat][fold]`, of the kind `fusion`.
    """

    members: tuple[Member, ...]
    baselines: tuple[Member, ...]
    patient_ids: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    in_scope: Bool
    fold: Int32
    raw: Mapping[str, Float64]
    logit: Mapping[str, Float64]
    inner: Mapping[str, Float64]
    platt: Mapping[str, tuple[tuple[Platt, ...], ...]]
    models: Mapping[str, tuple[Path, ...]]
    ensemble: Fused
    inner_ensemble: Float64
    fusion: Kind
    fusions: tuple[tuple[Fusion, ...], ...]
    inputs: Inputs
    notes: tuple[str, ...]


def cross_validate(
    samples: Sequence[Sample],
    labels: npt.ArrayLike,
    strata: Sequence[str],
    sites: Sequence[str],
    members: Sequence[Member],
    *,
    store: Store,
    sample_keys: Sequence[str],
    baselines: Sequence[Member] = (),
    folds: int = 5,
    repeats: int = 1,
    inner_folds: int = 3,
    scheme: Scheme = "random",
    seed: int = 0,
    fusion: Kind = "logit",
    given_folds: npt.ArrayLike | None = None,
    in_scope: npt.ArrayLike | None = None,
    keep_models: bool = True,
    progress: Progress | None = None,
    run: RunFits = one_by_one,
) -> Experiment:
    """Run the nested cross-validation; samples, labels, strata, sites and sample_keys have one element per patient.

    `sites`: "" if unknown. `sample_keys` name the content of each sample; with them, a finished (repeat, fold,
    classifier) is taken from the store, so a killed run continues where it stopped. `baselines`: classifiers that are
    fitted in the same way and reported beside the ensemble. `given_folds`: int[repeat patient], outer folds that were
    assigned elsewhere, numbered from 0, instead of `folds` and `repeats`; the inner splits still follow `scheme`.
    `in_scope`: bool[patient], on whom calibration and fusion are fitted and who are spread evenly over folds; all if
    None. `keep_models`: whether the store gets the first repeat's outer models, which only a study to be deployed
    needs. `progress(done, total, what)`. `run`: what makes the fits, this process by default. Raises ConfigError for a
    patient twice, mixed inputs or too few patients of a class, PluginError when a classifier fails, StoreError when the
    store cannot be written.
    """
    ids = tuple(s.patient_id for s in samples)
    if len(set(ids)) < len(ids):
        twice = next(p for p in ids if ids.count(p) > 1)
        raise ConfigError(
            f"patient {twice} appears twice and could lie on both sides of a split", "give one sample per patient"
        )
    inputs = common_inputs(samples)
    scope = np.ones(len(ids), bool) if in_scope is None else np.asarray(in_scope, bool)
    subjects = Subjects(labels=np.asarray(labels, np.int8), strata=strata, sites=sites, in_scope=scope)
    fold = (
        _outer_folds(subjects, folds, repeats, scheme, seed)
        if given_folds is None
        else np.atleast_2d(np.asarray(given_folds, np.int32))
    )
    repeats, folds = len(fold), int(fold.max()) + 1
    groups = [site or sample.patient_id for site, sample in zip(sites, samples, strict=True)]
    learners = Learners(samples=samples, labels=subjects.labels, groups=groups, keys=sample_keys)
    design = _Design(
        learners=learners, subjects=subjects, members=tuple(members), baselines=tuple(baselines), store=store,
        inner_folds=inner_folds, scheme=scheme, seed=seed, fusion=fusion, keep_models=keep_models,
    )  # fmt: skip
    plans = [[_plan(design, fold[r], (r, k)) for k in range(folds)] for r in range(repeats)]
    tasks = [task for row in plans for plan in row for task in plan.tasks.values()]
    for done, task in enumerate(run(learners, tasks, store), start=1):
        if progress is not None:
            progress(done, len(tasks), f"{task.member.name}, {task.where}")
    results = [[_fold_result(design, plan) for plan in row] for row in plans]
    found = {m.name: [[result.members[m.name] for result in row] for row in results] for m in design.fitted}
    return Experiment(
        members=design.members,
        baselines=design.baselines,
        patient_ids=ids,
        labels=subjects.labels,
        in_scope=scope,
        fold=fold,
        raw={name: _tested(fold, rows, lambda one: one.raw) for name, rows in found.items()},
        logit={name: _tested(fold, rows, lambda one: one.logit) for name, rows in found.items()},
        inner={name: _cube(rows, lambda one: one.inner) for name, rows in found.items()},
        platt={name: tuple(tuple(one.platt for one in row) for row in rows) for name, rows in found.items()},
        models={
            m.name: tuple(one.folder / "model" for one in found[m.name][0]) if keep_models else ()
            for m in design.members
        },
        ensemble=Fused(
            strict=_tested(fold, results, lambda one: one.strict),
            available=_tested(fold, results, lambda one: one.available),
        ),
        inner_ensemble=_cube(results, lambda one: one.inner),
        fusion=fusion,
        fusions=tuple(tuple(result.fusion for result in row) for row in results),
        inputs=inputs,
        notes=tuple(note for row in results for result in row for note in result.notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Design:
    """What all outer folds of a cross-validation share; see `cross_validate`."""

    learners: Learners
    subjects: Subjects
    members: tuple[Member, ...]
    baselines: tuple[Member, ...]
    store: Store
    inner_folds: int
    scheme: Scheme
    seed: int
    fusion: Kind
    keep_models: bool

    @property
    def fitted(self) -> tuple[Member, ...]:
        """Members, and the baselines beside them."""
        return self.members + self.baselines


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """The results of one member in one outer fold.

    float64[patient], NaN elsewhere: `raw` and `logit` of the test patients, before and after calibration, and `inner`,
    the calibrated inner out-of-fold logits of the training patients. `folder`: where its fits are in the store.
    """

    raw: Float64
    logit: Float64
    inner: Float64
    platt: Platt
    folder: Path
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """The results of one outer fold: those of members and baselines, and the fused members.

    float64[patient], NaN elsewhere: `strict` and `available` (see Fused) of the test patients, and `inner`, the strict
    ensemble of the training patients, each fused without its inner fold. `fusion`: the fusion fitted on all of these.
    """

    members: Mapping[str, MemberResult]
    strict: Float64
    available: Float64
    inner: Float64
    fusion: Fusion
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One outer fold before anything is fitted: who trains (in which inner fold), who is tested, each task."""

    train: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]
    assignment: npt.NDArray[np.int_]
    tasks: Mapping[str, FitTask]
    note: str


def _plan(design: _Design, fold: Int32, place: tuple[int, int]) -> _Plan:
    """Plan one outer fold, `place` (repeat, fold); `fold`: int32[patient], that of each patient in this repeat."""
    (r, k), subjects = place, design.subjects
    train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    here = f"repeat {r + 1}, fold {k + 1}"
    seed = derive_seed(design.seed, "inner", r, k)
    assignment, note = inner_assignment(subjects, train, design.inner_folds, design.scheme, seed)
    tasks: dict[str, FitTask] = {}
    for m in design.fitted:
        present = np.array(
            [has_input(m.plugin.consumes, handed(s, m.extractor)) for s in design.learners.samples], bool
        )
        seed = derive_seed(design.seed, "fold", r, k)
        fits = plan_fits(subjects, present, train, test, assignment, seed, m.name, design.scheme)
        keep = design.keep_models and r == 0 and m in design.members
        tasks[m.name] = FitTask(member=m, fits=fits, keep_model=keep, where=here)
    return _Plan(train=train, test=test, assignment=assignment, tasks=tasks, note=f"{here}: {note}" if note else "")


def _fold_result(design: _Design, plan: _Plan) -> FoldResult:
    """The results of one outer fold, whose fits are in the store."""
    subjects, train, test = design.subjects, plan.train, plan.test
    n = len(subjects.labels)
    members = {name: _member_result(design, task) for name, task in plan.tasks.items()}
    learned = {m.name: members[m.name].inner[train] for m in design.members}
    fusion = fit_fusion(design.fusion, learned, subjects.labels[train], subjects.in_scope[train])
    fused = fusion.fuse({m.name: members[m.name].logit[test] for m in design.members})
    inner = out_of_fold(design.fusion, learned, subjects.labels[train], plan.assignment, subjects.in_scope[train])
    return FoldResult(
        members=members,
        strict=_spread(n, test, fused.strict),
        available=_spread(n, test, fused.available),
        inner=_spread(n, train, inner),
        fusion=fusion,
        notes=(*([plan.note] if plan.note else ()), *(text for found in members.values() for text in found.notes)),
    )


def _member_result(design: _Design, task: FitTask) -> MemberResult:
    """Fit a member in one outer fold, or take its fits from the store, and calibrate its scores."""
    folder = make_fits(design.learners, task, design.store)
    *inner, outer = [np.load(folder / f"{i}.npy", allow_pickle=False) for i in range(len(task.fits))]
    inner_raw, calibrated = np.concatenate(inner), np.concatenate([f.score for f in task.fits[:-1]])
    own = design.subjects.in_scope[calibrated]
    own = own if own.any() else ~own  # if only patients out of scope have the input, the member still needs a line
    line = fit_platt(inner_raw[own], design.subjects.labels[calibrated][own])
    name, n, test = task.member.name, len(design.learners.samples), task.fits[-1].score
    notes = dict.fromkeys(fit.note for fit in task.fits if fit.note)
    return MemberResult(
        raw=_spread(n, test, outer),
        logit=_spread(n, test, line.logit(outer)),
        inner=_spread(n, calibrated, line.logit(inner_raw)),
        platt=line,
        folder=folder,
        notes=tuple(f"{task.where}, {name}: {note}" for note in notes),
    )


def _spread(n: int, index: npt.NDArray[np.intp], values: Float64) -> Float64:
    """Values at their places among n patients, float64[patient]; NaN elsewhere."""
    spread = np.full(n, np.nan)
    spread[index] = values
    return spread


def _cube(rows: Sequence[Sequence[R]], of: Callable[[R], Float64]) -> Float64:
    """One of the values of each fold of each repeat, float64[repeat fold patient]."""
    return np.array([[of(one) for one in row] for row in rows])


def _tested(fold: Int32, rows: Sequence[Sequence[R]], of: Callable[[R], Float64]) -> Float64:
    """The same, only from the fold that tested each patient, float64[repeat patient]."""
    return np.take_along_axis(_cube(rows, of), fold[:, None], axis=1)[:, 0]


def _outer_folds(subjects: Subjects, folds: int, repeats: int, scheme: Scheme, seed: int) -> Int32:
    """The outer fold of each patient in each repeat, int32[repeat patient]."""
    s = subjects
    assigned = [
        assign_folds(s.labels, s.strata, s.sites, folds, derive_seed(seed, "outer", r), scheme, s.in_scope)
        for r in range(repeats)
    ]
    return np.stack(assigned).astype(np.int32)
