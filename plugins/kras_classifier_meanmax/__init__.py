"""Classifier `meanmax`: logistic regression on mean and maximum of a patient's tiles, a baseline beside `he`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from kras_plugins import Bag, Classifier, ClassifierPlugin, Options, hookimpl


class MeanMaxOptions(Options):
    """How the penalty is chosen."""

    inner_folds: int = Field(
        5, ge=2, description="inner folds for choosing the penalty, at most one per patient of the smaller class"
    )


def _create(options: Any, seed: int) -> Classifier:
    from kras_classifier_meanmax.classifier import MeanMaxClassifier

    return MeanMaxClassifier(options, seed)


def _load(folder: Path) -> Classifier:
    from kras_classifier_meanmax.classifier import MeanMaxClassifier

    return MeanMaxClassifier.load(folder)


@hookimpl
def kras_classifiers() -> Iterator[ClassifierPlugin]:
    """Yield the record."""
    yield ClassifierPlugin(
        name="meanmax",
        summary="logistic regression on mean and maximum of a patient's tiles; a baseline",
        options=MeanMaxOptions,
        consumes=Bag,
        baseline=True,
        create=_create,
        load=_load,
    )
