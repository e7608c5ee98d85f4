"""Classifier `mlp`: a small neural network on the semantic profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kras_plugins import Classifier, ClassifierPlugin, SemanticProfile, hookimpl
from kras_plugins.learning.options import TableOptions


class MlpOptions(TableOptions):
    """Size and training of the network."""

    features: Literal["all", "core"] = Field("core", description=TableOptions.model_fields["features"].description)
    hidden: int = Field(64, ge=1, description="units of the hidden layer")
    dropout: float = Field(0.4, ge=0, lt=1, description="share of hidden units dropped in training")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="weight decay of AdamW")
    epochs: int = Field(200, ge=1, description="at most this many passes over the patients")
    patience: int = Field(20, ge=1, description="epochs without a lower validation loss before a network stops")
    seeds: int = Field(10, ge=1, description="networks that are trained and averaged")
    batch: int = Field(64, ge=1, description="at most this many patients per step")


def _create(options: Any, seed: int) -> Classifier:
    from kras_classifier_mlp.classifier import MlpClassifier

    return MlpClassifier(options, seed)


def _load(folder: Path) -> Classifier:
    from kras_classifier_mlp.classifier import MlpClassifier

    return MlpClassifier.load(folder)


@hookimpl
def kras_classifiers() -> Iterator[ClassifierPlugin]:
    """Yield the record."""
    yield ClassifierPlugin(
        name="mlp",
        summary="small neural network on the semantic profile",
        options=MlpOptions,
        result_version=3,
        consumes=SemanticProfile,
        create=_create,
        load=_load,
    )
