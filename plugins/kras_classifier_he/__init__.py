"""Classifier `he`: gated-attention multiple-instance learning on all tiles of a patient's H&E slides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from kras_plugins import Bag, Classifier, ClassifierPlugin, Options, hookimpl
from kras_plugins.models.devices import find_device, kind_of, known_device


class HeOptions(Options):
    """Size and training of the network."""

    hidden: int = Field(256, ge=1, description="features per tile after the first layer")
    attention: int = Field(128, ge=1, description="units of the gated attention")
    dropout: float = Field(0.25, ge=0, lt=1, description="share of hidden units dropped in training")
    feature_dropout: float = Field(0.1, ge=0, lt=1, description="share of input features dropped in training")
    lr: float = Field(
        1e-4, gt=0, description="initial learning rate of AdamW, raised for small cohorts; cosine decay to 0"
    )
    weight_decay: float = Field(1e-3, ge=0, description="weight decay of AdamW")
    epochs: int = Field(40, ge=1, description="at most this many passes over the patients")
    patience: int = Field(10, ge=1, description="epochs without a lower validation loss before a network stops")
    tiles: int = Field(1024, ge=1, description="tiles drawn at random from each patient in each epoch")
    max_tiles: int = Field(
        0, ge=0, description="tiles looked at per patient in prediction, evenly spaced; 0: all of them"
    )
    seeds: int = Field(5, ge=1, description="networks that are trained and averaged")
    batch_bags: int = Field(16, ge=1, description="at most this many patients per step")
    device: str = Field(
        "auto",
        description="what trains: `auto` is one accelerator that PyTorch sees, else the CPU; `cpu`, `cuda` (the first "
        "NVIDIA GPU), `cuda:N`, `mps` (Apple), `xpu` (Intel)",
    )

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        return known_device(device)

    def result_affecting(self) -> dict[str, Any]:
        """The options that change results, with `device` as its kind on this machine: kinds round differently."""
        kind = find_device("auto").kind if self.device == "auto" else kind_of(self.device)
        return {**super().result_affecting(), "device": kind}


def _create(options: Any, seed: int) -> Classifier:
    from kras_classifier_he.classifier import HeClassifier

    return HeClassifier(options, seed)


def _load(folder: Path) -> Classifier:
    from kras_classifier_he.classifier import HeClassifier

    return HeClassifier.load(folder)


@hookimpl
def kras_classifiers() -> Iterator[ClassifierPlugin]:
    """Yield the record."""
    yield ClassifierPlugin(
        name="he",
        summary="gated-attention MIL on the tiles of a patient's slides",
        options=HeOptions,
        result_version=3,
        consumes=Bag,
        create=_create,
        load=_load,
    )
