"""The fits of one classifier in one outer fold: one artifact of the store, and one task for any worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from kras_plugins.contracts.base import Options
from kras_plugins.contracts.classifier import Classifier, ClassifierPlugin, Cohort
from kras_plugins.data import Sample
from kras_plugins.learning.guard import Called, call, predict
from kras_plugins.learning.inputs import handed
from kras_plugins.learning.plan import Fit
from kras_plugins.store import Key, Store, make_key

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Member:
    """A classifier taking part: its record, its validated options, and who provides it.

    `identity` enters the store's keys: `Provided.id` and the distribution's version. `origin`: for error messages.
    `extractor`: the extractor whose bags it gets, if there are several; its name then ends with it, as in `he@vit`.
    """

    name: str
    plugin: ClassifierPlugin
    options: Options
    identity: str
    origin: str = ""
    extractor: str = ""


@dataclass(frozen=True, kw_only=True)
class Learners:
    """All patients of a cross-validation, one element each; `keys` name the content of each sample.

    `labels`: int8[patient]; `groups`: the site, or the patient if that is unknown.
    """

    samples: Sequence[Sample]
    labels: npt.NDArray[np.int8]
    groups: Sequence[str]
    keys: Sequence[str]

    def cohort(self, index: npt.NDArray[np.intp]) -> Cohort:
        """Some of them, as classifiers see them."""
        return Cohort(
            samples=[self.samples[i] for i in index],
            labels=self.labels[index],
            groups=[self.groups[i] for i in index],
        )


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """The fits of one classifier in one outer fold, the outer one last. `where`: the fold, for error messages."""

    member: Member
    fits: tuple[Fit, ...]
    keep_model: bool
    where: str


RunFits: TypeAlias = "Callable[[Learners, Sequence[FitTask], Store], Iterator[FitTask]]"
"""Runs all tasks, with results in the store, and yields each as it is done."""


def one_by_one(learners: Learners, tasks: Sequence[FitTask], store: Store) -> Iterator[FitTask]:
    """Run the tasks in this process, in order."""
    for task in tasks:
        make_fits(learners, task, store)
        yield task


def make_fits(learners: Learners, task: FitTask, store: Store) -> Path:
    """The folder with the scores of each fit (`0.npy` …, the outer one last) and the outer `model/`, if kept.

    Raises PluginError when the classifier fails, StoreError when the store cannot be written.
    """
    own = replace(learners, samples=[handed(sample, task.member.extractor) for sample in learners.samples])

    def build(folder: Path) -> None:
        plugin = task.member.plugin
        who = Called(name=task.member.name, plugin=plugin.name, origin=task.member.origin)

        def fitted(fit: Fit) -> Classifier:
            made = plugin.create(task.member.options, fit.seed)
            made.fit(own.cohort(fit.fit), own.cohort(fit.valid))
            return made

        for i, fit in enumerate(task.fits):
            doing = f"in {task.where}, {'outer' if i == len(task.fits) - 1 else 'inner'} fit"
            classifier = call(who, doing, partial(fitted, fit), len(fit.fit) + len(fit.valid))
            scored = [own.samples[j] for j in fit.score]
            np.save(folder / f"{i}.npy", predict(who, classifier, scored, doing), allow_pickle=False)
        if task.keep_model:
            (folder / "model").mkdir()
            call(who, f"saving, {task.where}", lambda: classifier.save(folder / "model"))

    return store.make(_key(learners, task), build)


def _key(learners: Learners, task: FitTask) -> Key:
    def learned(index: npt.NDArray[np.intp]) -> list[tuple[str, int, str]]:
        return [(learners.keys[i], int(learners.labels[i]), learners.groups[i]) for i in index]

    return make_key(
        "fit",
        classifier=task.member.identity,
        name=task.member.plugin.name,
        result_version=task.member.plugin.result_version,
        options=task.member.options.result_affecting(),
        **({"extractor": task.member.extractor} if task.member.extractor else {}),
        model=task.keep_model,
        fits=[
            {
                "fit": learned(f.fit),
                "valid": learned(f.valid),
                "score": [learners.keys[i] for i in f.score],
                "seed": f.seed,
            }
            for f in task.fits
        ],
    )
