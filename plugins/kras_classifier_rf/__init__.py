"""Classifier `rf`: a random forest on the semantic profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from kras_plugins import Classifier, ClassifierPlugin, SemanticProfile, hookimpl, tuning
from kras_plugins.learning.options import TableOptions


class RfOptions(TableOptions):
    """Size of the forest."""

    trees: int = Field(1000, ge=1, description="number of trees")
    min_leaf: int = Field(5, ge=1, description="least number of patients in a leaf")
    jobs: int = tuning(0, ge=0, description="threads used for training; 0: one per core")


def _create(options: Any, seed: int) -> Classifier:
    from kras_classifier_rf.classifier import RfClassifier

    return RfClassifier(options, seed)


def _load(folder: Path) -> Classifier:
    from kras_classifier_rf.classifier import RfClassifier

    return RfClassifier.load(folder)


@hookimpl
def kras_classifiers() -> Iterator[ClassifierPlugin]:
    """Yield the record."""
    yield ClassifierPlugin(
        name="rf",
        summary="random forest on the semantic profile",
        options=RfOptions,
        result_version=3,
        consumes=SemanticProfile,
        create=_create,
        load=_load,
    )
