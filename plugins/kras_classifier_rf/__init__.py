"""Classifier `rf`: a random forest on the semantic profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kras_plugins import Classifier, ClassifierPlugin, Options, SemanticProfile, hookimpl, tuning


class RfOptions(Options):
    """Size of the forest."""

    features: Literal["all", "core"] = Field(
        "all", description="all, or the preset `core` of 68; of features made elsewhere always all"
    )
    ip_preset: Literal["lunit_jco2022", "quantile"] = Field(
        "lunit_jco2022",
        description="immune phenotype by the published thresholds, or by those with which as many training patients "
        "are inflamed and excluded as were published; quantile needs cells, not a table of features",
    )
    trees: int = Field(1000, ge=1, description="number of trees")
    min_leaf: int = Field(5, ge=1, description="least number of patients in a leaf")
    jobs: int = tuning(0, ge=0, description="threads used for training; 0: one a core")


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
        result_version=2,
        consumes=SemanticProfile,
        create=_create,
        load=_load,
    )
