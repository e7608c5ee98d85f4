"""Classifier `lgbm`: gradient-boosted trees (LightGBM) on the semantic profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kras_plugins import Classifier, ClassifierPlugin, Options, SemanticProfile, hookimpl, tuning


class LgbmOptions(Options):
    """Settings for small cohorts."""

    features: Literal["all", "core"] = Field(
        "all", description="all, or the preset `core` of 68; of features made elsewhere always all"
    )
    ip_preset: Literal["lunit_jco2022", "quantile"] = Field(
        "lunit_jco2022",
        description="immune phenotype by the published thresholds, or by those with which as many training patients "
        "are inflamed and excluded as were published; quantile needs cells, not a table of features",
    )
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
        result_version=2,
        consumes=SemanticProfile,
        create=_create,
        load=_load,
    )
