"""Nested cross-validation by patient: outer folds measure, inner folds calibrate and set thresholds.

For each repeat, outer fold and classifier, inner folds over the outer-training part give out-of-fold scores, on which
Platt's line is fitted; a model fitted on the whole outer-training part then scores the test fold. Labels of the test
fold never reach the code that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.splits import Scheme
from kras_plugins.cohort.splits import folds as assign_folds
from kras_plugins.contracts.base import Options
from kras_plugins.contracts.classifier import Classifier, ClassifierPlugin, Cohort
from kras_plugins.data import Sample
from kras_plugins.errors import ConfigError
from kras_plugins.learning.calibration import Platt, fit_platt
from kras_plugins.learning.fusion import Fused, Fusion, Kind, fit_fusion, out_of_fold
from kras_plugins.learning.guard import Called, call, predict
from kras_plugins.learning.inputs import Inputs, common_inputs, has_input
from kras_plugins.learning.plan import Fit, Subjects, derive_seed, inner_assignment, plan_fits
from kras_plugins.store import Store, make_key

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64, Int32

    Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A classifier taking part: its record, its validated options, and who provides it.

    `identity` enters the store's keys: `Provided.id` and the distribution's version. `origin`: as errors tell it.
    """

    name: str
    plugin: ClassifierPlugin
    options: Options
    identity: str
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All out-of-fold scores of a nested cross-validation, and where the models are.

    `fold`: int32[repeat patient]. Per member, NaN where a patient lacks what it consumes: `raw` and `logit`
    float64[repeat patient], out-of-fold scores of the outer models before and after calibration; `inner`
    float64[repeat fold patient], calibrated inner out-of-fold logits of each outer-training part, NaN for its test
    patients: the scores on which that fold's thresholds may be set. `platt[name][repeat][fold]`; `models[name][fold]`:
    folders of the first repeat's outer models, in the store.

    `ensemble`: out-of-fold logits of the members fused, float64[repeat patient]; `inner_ensemble`: like `inner`, of the
    strict ensemble, each patient fused without its inner fold; `fusions[repeat][fold]`, of the kind `fusion`.
    """

    members: tuple[Member, ...]
    patient_ids: tuple[str, ...]
    labels: npt.NDArray[np.int8]
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
    folds: int = 5,
    repeats: int = 1,
    inner_folds: int = 3,
    scheme: Scheme = "random",
    seed: int = 0,
    fusion: Kind = "logit",
    given_folds: npt.ArrayLike | None = None,
    progress: Progress | None = None,
) -> Experiment:
    """Run the nested cross-validation; samples, labels, strata, sites and sample_keys are all one a patient.

    `sites`: "" where unknown. `sample_keys` name the content of each sample; with them, a finished (repeat, fold,
    classifier) is taken from the store, so a killed run goes on where it stopped. `given_folds`: int[repeat patient],
    outer folds that were decided elsewhere, numbered from 0, instead of `folds` and `repeats`; the inner splits still
    follow `scheme`. `progress(done, total, what)`.
    Raises ConfigError for a patient twice, mixed inputs or too few patients of a class, PluginError when a classifier
    fails, StoreError when the store cannot be written.
    """
    ids = tuple(s.patient_id for s in samples)
    if len(set(ids)) < len(ids):
        twice = next(p for p in ids if ids.count(p) > 1)
        raise ConfigError(
            f"patient {twice} is there twice and could lie on both sides of a split", "give one sample a patient"
        )
    inputs = common_inputs(samples)
    subjects = Subjects(labels=np.asarray(labels, np.int8), strata=strata, sites=sites)
    present = {m.name: np.array([has_input(m.plugin.consumes, s) for s in samples], bool) for m in members}
    fold = (
        _outer_folds(subjects, folds, repeats, scheme, seed)
        if given_folds is None
        else np.atleast_2d(np.asarray(given_folds, np.int32))
    )
    repeats, folds = len(fold), int(fold.max()) + 1
    cube = (repeats, folds, len(ids))
    raw = {m.name: np.full((repeats, len(ids)), np.nan) for m in members}
    logit = {m.name: np.full((repeats, len(ids)), np.nan) for m in members}
    inner = {m.name: np.full(cube, np.nan) for m in members}
    platt: dict[str, list[list[Platt]]] = {m.name: [[] for _ in range(repeats)] for m in members}
    models: dict[str, list[Path]] = {m.name: [] for m in members}
    strict, available = np.full((2, repeats, len(ids)), np.nan)
    inner_ensemble = np.full(cube, np.nan)
    fusions: list[list[Fusion]] = [[] for _ in range(repeats)]
    notes, done = [], 0
    for r, k in np.ndindex(repeats, folds):
        train, test = np.flatnonzero(fold[r] != k), np.flatnonzero(fold[r] == k)
        here = f"repeat {r + 1}, fold {k + 1}"
        assignment, note = inner_assignment(subjects, train, inner_folds, scheme, derive_seed(seed, "inner", r, k))
        if note:
            notes.append(f"{here}: {note}")
        for m in members:
            fits = plan_fits(
                subjects, present[m.name], train, test, assignment, derive_seed(seed, "fold", r, k), m.name, scheme
            )
            notes += [f"{here}, {m.name}: {note}" for note in dict.fromkeys(fit.note for fit in fits) if note]
            task = _Task(member=m, fits=fits, keep_model=r == 0, where=here)
            folder = _make(store, task, samples, subjects, sample_keys)
            scores = [np.load(folder / f"{i}.npy", allow_pickle=False) for i in range(len(fits))]
            calibrated = np.concatenate([f.score for f in fits[:-1]])
            inner_raw = np.concatenate(scores[:-1])
            line = fit_platt(inner_raw, subjects.labels[calibrated])
            if line.slope == 0:
                notes.append(f"{here}: {m.name} ranked no better than chance inside; its logit is constant")
            platt[m.name][r].append(line)
            inner[m.name][r, k, calibrated] = line.logit(inner_raw)
            raw[m.name][r, fits[-1].score] = scores[-1]
            logit[m.name][r, fits[-1].score] = line.logit(scores[-1])
            if task.keep_model:
                models[m.name].append(folder / "model")
            done += 1
            if progress is not None:
                progress(done, repeats * folds * len(members), f"{m.name}, {here}")
        learned = {name: values[r, k, train] for name, values in inner.items()}
        fused = fit_fusion(fusion, learned, subjects.labels[train])
        inner_ensemble[r, k, train] = out_of_fold(fusion, learned, subjects.labels[train], assignment)
        scored = fused.fuse({name: values[r, test] for name, values in logit.items()})
        strict[r, test], available[r, test] = scored.strict, scored.available
        fusions[r].append(fused)
    return Experiment(
        members=tuple(members),
        patient_ids=ids,
        labels=subjects.labels,
        fold=fold,
        raw=raw,
        logit=logit,
        inner=inner,
        platt={name: tuple(map(tuple, rows)) for name, rows in platt.items()},
        models={name: tuple(paths) for name, paths in models.items()},
        ensemble=Fused(strict=strict, available=available),
        inner_ensemble=inner_ensemble,
        fusion=fusion,
        fusions=tuple(map(tuple, fusions)),
        inputs=inputs,
        notes=tuple(notes),
    )


def _outer_folds(subjects: Subjects, folds: int, repeats: int, scheme: Scheme, seed: int) -> Int32:
    """The outer fold of each patient in each repeat, int32[repeat patient]."""
    s = subjects
    assigned = [
        assign_folds(s.labels, s.strata, s.sites, folds, derive_seed(seed, "outer", r), scheme) for r in range(repeats)
    ]
    return np.stack(assigned).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The fits of one classifier in one outer fold: one artifact of the store."""

    member: Member
    fits: tuple[Fit, ...]
    keep_model: bool
    where: str


def _make(store: Store, task: _Task, samples: Sequence[Sample], subjects: Subjects, sample_keys: Sequence[str]) -> Path:
    """The folder with the scores of each fit (`0.npy` …, the outer one last) and the outer `model/`, if kept."""
    groups = [site or sample.patient_id for site, sample in zip(subjects.sites, samples, strict=True)]

    def cohort(index: npt.NDArray[np.intp]) -> Cohort:
        return Cohort(
            samples=[samples[i] for i in index],
            labels=subjects.labels[index],
            groups=[groups[i] for i in index],
        )

    def build(folder: Path) -> None:
        plugin = task.member.plugin
        who = Called(name=task.member.name, plugin=plugin.name, origin=task.member.origin)

        def fitted(fit: Fit) -> Classifier:
            made = plugin.create(task.member.options, fit.seed)
            made.fit(cohort(fit.fit), cohort(fit.valid))
            return made

        for i, fit in enumerate(task.fits):
            doing = f"in {task.where}, {'outer' if i == len(task.fits) - 1 else 'inner'} fit"
            classifier = call(who, doing, partial(fitted, fit), len(fit.fit) + len(fit.valid))
            scored = [samples[j] for j in fit.score]
            np.save(folder / f"{i}.npy", predict(who, classifier, scored, doing), allow_pickle=False)
        if task.keep_model:
            (folder / "model").mkdir()
            call(who, f"saving, {task.where}", lambda: classifier.save(folder / "model"))

    def learned(index: npt.NDArray[np.intp]) -> list[tuple[str, int, str]]:
        return [(sample_keys[i], int(subjects.labels[i]), groups[i]) for i in index]

    key = make_key(
        "fit",
        classifier=task.member.identity,
        name=task.member.plugin.name,
        result_version=task.member.plugin.result_version,
        options=task.member.options.result_affecting(),
        model=task.keep_model,
        fits=[
            {
                "fit": learned(f.fit),
                "valid": learned(f.valid),
                "score": [sample_keys[i] for i in f.score],
                "seed": f.seed,
            }
            for f in task.fits
        ],
    )
    return store.make(key, build)
