"""Classifier `lgbm`: gradient-boosted trees (LightGBM) on the semantic profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from kras_plugins import Classifier, ClassifierPlugin, SemanticProfile, hookimpl, tuning
from kras_plugins.learning.options import TableOptions


class LgbmOptions(TableOptions):
    """Settings for small cohorts."""

    rounds: int = Field(300, ge=1, description="at most this many trees")
    patience: int = Field(30, ge=1, description="rounds without a lower validation loss before boosting stops")
    leaves: int = Field(7, ge=2, description="leaves per tree")
    min_leaf: int = Field(
        10, ge=1, description="least number of patients in a leaf, or a tenth of them if that is less"
    )
    lr: float = Field(0.05, gt=0, description="shrinkage of each tree")
    feature_share: float = Field(0.5, gt=0, le=1, description="share of features each tree may use")
    patient_share: float = Field(0.8, gt=0, le=1, description="share of patients each tree is grown on")
    jobs: int = tuning(1, ge=1, description="threads")


def _create(options: Any, seed: int) -> Classifier:
    from kras_classifier_lgbm.classifier import LgbmClassifier

    return LgbmClassifier(options, seed)


def _load(folder: Path) -> Classifier:
    from kras_classifier_lgbm.classifier import LgbmClassifier

    return LgbmClassifier.load(folder)


@hookimpl
def kras_classifiers() -> Iterator[ClassifierPlugin]:
    """Yield the record."""
    yield ClassifierPlugin(
        name="lgbm",
        summary="gradient-boosted trees on the semantic profile",
        options=LgbmOptions,
        result_version=3,
        consumes=SemanticProfile,
        create=_create,
        load=_load,
    )
