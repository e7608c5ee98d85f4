"""Does anything that was fitted know the test fold? Change what is known about its patients and see what changes.

Whatever an outer fold fits (models, calibration, fusion, thresholds, scores inside its training part) must be the same,
bit for bit, whatever the labels and features of its test patients are. This catches a leak into early stopping,
scaling, imputation, feature selection, calibration or thresholds without a list of the ways a leak can take.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.splits import folds as assign_folds
from kras_plugins.contracts.base import Options
from kras_plugins.contracts.classifier import ClassifierPlugin
from kras_plugins.data import Bag, Sample
from kras_plugins.evaluation.thresholds import fold_thresholds
from kras_plugins.learning.experiment import Experiment, cross_validate
from kras_plugins.learning.fits import Member
from kras_plugins.store import Store

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64

    Labels = npt.NDArray[np.int8]
    Run = Callable[[Sequence[Sample], Labels, Store], Experiment]
    Thresholds = Callable[[Experiment], Mapping[str, Float64]]


def inner_thresholds(experiment: Experiment) -> Mapping[str, Float64]:
    """The ensemble's thresholds by rule as `kras run` sets them, float64[repeat patient]."""
    return fold_thresholds(experiment.labels, experiment.inner_ensemble, experiment.fold.astype(np.int_))


def find_leaks(
    run: Run, samples: Sequence[Sample], labels: npt.ArrayLike, *, thresholds: Thresholds = inner_thresholds
) -> list[str]:
    """What a cross-validation fitted that depends on its test folds, one sentence each; empty if nothing does.

    `run(samples, labels, store)` does a whole cross-validation with this empty store, and with the same outer folds
    whatever the labels are (`given_folds` of `cross_validate`). It is run once unchanged and, for each fold of the
    first repeat, once with inverted labels of the test patients and once with changed features of theirs.
    `thresholds(experiment)` gives the thresholds that apply to each patient. Raises ValueError if outer folds differ
    between runs.
    """
    y = np.asarray(labels, np.int8)
    with tempfile.TemporaryDirectory() as root:
        stores = (Store(Path(root) / str(i)) for i in range(10**6))
        before = run(samples, y, next(stores))
        found = []
        for k in range(int(before.fold.max()) + 1):
            test = before.fold[0] == k
            others = [change(s) if t else s for s, t in zip(samples, test, strict=True)]
            for what, cohort in (("labels", (samples, np.where(test, 1 - y, y))), ("features", (others, y))):
                after = run(cohort[0], cohort[1].astype(np.int8), next(stores))
                if (after.fold != before.fold).any():
                    raise ValueError("the run assigns patients to folds again: give it outer folds")
                moved = _moved(before, after, k, test if what == "labels" else None, thresholds)
                found += [f"fold {k + 1}: {name} depends on the {what} of its test patients" for name in moved]
    return found


def classifier_leaks(
    plugin: ClassifierPlugin,
    samples: Sequence[Sample],
    labels: npt.ArrayLike,
    *,
    options: Options | None = None,
    folds: int = 2,
    seed: int = 0,
) -> list[str]:
    """`find_leaks` for one classifier in the nested cross-validation of `kras run`, for the tests of a plug-in.

    A few dozen patients of both classes suffice; it fits 4 × folds × (1 + 2 × folds) models, so give small options.
    """
    member = Member(name=plugin.name, plugin=plugin, options=options or plugin.options(), identity="leak check")
    unknown = [""] * len(samples)
    fold = assign_folds(np.asarray(labels, np.int8), unknown, unknown, folds, seed)

    def run(samples: Sequence[Sample], labels: Labels, store: Store) -> Experiment:
        keys = [content_key(s) for s in samples]
        strata = sites = unknown
        return cross_validate(
            samples, labels, strata, sites, [member], store=store, sample_keys=keys, seed=seed, given_folds=fold
        )

    return find_leaks(run, samples, labels)


def content_key(sample: Sample) -> str:
    """A digest of a sample's content, for `sample_keys` of `cross_validate`."""
    digest = hashlib.sha256(sample.patient_id.encode())
    for bag in sample.bags:
        digest.update(np.ascontiguousarray(bag.features).tobytes())
    if sample.profile is not None:
        digest.update(sample.profile.values.tobytes() + repr(sorted(sample.profile.valid.items())).encode())
    return digest.hexdigest()


def change(sample: Sample) -> Sample:
    """The same patient with other features: three times the values plus seven, with inverted validity flags."""
    profile = sample.profile
    if profile is not None:
        flags = {group: not valid for group, valid in profile.valid.items()}
        profile = replace(profile, values=profile.values * 3 + 7, valid=flags)
    return replace(sample, bags=tuple(_change_bag(bag) for bag in sample.bags), profile=profile)


def _change_bag(bag: Bag) -> Bag:
    features = np.asarray(bag.features)
    return replace(bag, features=(features * 3 + 7).astype(features.dtype))


def _moved(before: Experiment, after: Experiment, k: int, test: Bool | None, thresholds: Thresholds) -> Iterator[str]:
    """What fold `k` of the first repeat fitted that differs; also the scores of patients `test`, if given."""
    here = before.fold[0] == k
    for member in before.members:
        name = member.name
        if _content(before.models[name][k]) != _content(after.models[name][k]):
            yield f"the model of {name}"
        if before.platt[name][0][k] != after.platt[name][0][k]:
            yield f"the calibration of {name}"
        if _differ(before.inner[name][0, k], after.inner[name][0, k]):
            yield f"a score of {name} inside the training part"
        if test is not None and _differ(before.raw[name][0, test], after.raw[name][0, test]):
            yield f"a test score of {name}"
        if test is not None and _differ(before.logit[name][0, test], after.logit[name][0, test]):
            yield f"a calibrated test score of {name}"
    if before.fusions[0][k].to_dict() != after.fusions[0][k].to_dict():
        yield "the fusion"
    if _differ(before.inner_ensemble[0, k], after.inner_ensemble[0, k]):
        yield "an ensemble score inside the training part"
    if test is not None and _differ(before.ensemble.strict[0, test], after.ensemble.strict[0, test]):
        yield "an ensemble test score"
    old, new = thresholds(before), thresholds(after)
    for rule in old:
        if _differ(old[rule][0, here], new[rule][0, here]):
            yield f"the threshold {rule}"


def _differ(a: Float64, b: Float64) -> bool:
    return not np.array_equal(a, b, equal_nan=True)


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
