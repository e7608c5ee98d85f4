"""Extractor `timm_cnn`: pooled features of a public convolutional network, with timm's weights from the hub."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from pydantic import Field

from kras_plugins import ExtractorPlugin, ModelSpec, Options, TileSpec, Weights, encoder, hookimpl

TILE = TileSpec(px=224, mpp=0.5)
DIM = {"resnet18": 512, "resnet50": 2048}
PAPER = "Wightman, Touvron, Jégou 2021, arXiv:2110.00476; trained on ImageNet-1k"


class TimmCnnOptions(Options):
    """Options of the extractor `timm_cnn`."""

    model: Literal["resnet18", "resnet50"] = Field("resnet18", description="which network")
    weights: str = Field("", description="file of its tensors, or `random:SEED`; empty: timm's own from the hub")


def published(model: str) -> Weights:
    """Timm's weights: where they are, on what terms, and that no slides were in their training."""
    source = f"hf:timm/{model}.a1_in1k/model.safetensors"
    return Weights(source=source, licence="Apache-2.0", citation=PAPER, tcga=False)


def network(model: str) -> Any:
    """The untrained network without its head: float32[n 3 h w] -> float32[n DIM[model]]."""
    import timm

    return timm.create_model(model, num_classes=0)


def models(options: TimmCnnOptions) -> tuple[ModelSpec, ...]:
    """The network, for every backend; its channels are scaled as ImageNet's, which is the default of `encoder`."""
    own = Weights(source=options.weights, licence="unknown")
    weights = own if options.weights else published(options.model)
    make, dim = partial(network, options.model), DIM[options.model]
    return (encoder("timm_cnn", make, architecture=options.model, tile=TILE, dim=dim, weights=weights),)


@hookimpl
def kras_extractors() -> Iterable[ExtractorPlugin]:
    """Yield the record."""
    yield ExtractorPlugin(
        name="timm_cnn",
        summary="pooled features of a ResNet (timm, ImageNet-1k)",
        options=TimmCnnOptions,
        tile=lambda _options: TILE,
        models=models,
        catalog=lambda: {model: published(model) for model in DIM},
    )
