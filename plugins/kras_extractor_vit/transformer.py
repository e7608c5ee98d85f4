"""The network behind `vit`, transformer and pooling in one module."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from kras_extractor_vit.last_block import keep_class_token_only
from kras_extractor_vit.presets import Preset
from kras_extractor_vit.published import to_timm
from kras_plugins import ConfigError
from kras_plugins.models.network import Normalized, load_strictly, read_tensors, seeded


class Pooled(torch.nn.Module):
    """float32[n 3 h w] -> float32[n feature]: transformer, then the pooled tokens."""

    def __init__(self, vit: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.vit = vit
        self.pooling = pooling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of a batch of normalized tiles."""
        tokens: torch.Tensor = self.vit.forward_features(x)  # type: ignore[operator]
        if self.pooling == "cls":
            return tokens[:, 0]
        prefix: Any = self.vit.num_prefix_tokens  # class token and registers
        mean = tokens[:, prefix:].mean(dim=1)
        return mean if self.pooling == "mean" else torch.cat([tokens[:, 0], mean], dim=1)


def build(preset: Preset, weights: Path | None) -> torch.nn.Module:
    """The network of one encoder, with these weights or those of its seed.

    Raises ConfigError for an architecture that is not a vision transformer or lacks the class token, and for weights
    that do not fit it.
    """
    vit = seeded(preset.source, lambda: create(preset))
    if not hasattr(vit, "num_prefix_tokens"):
        raise ConfigError(
            f"extractor.vit.model={preset.timm} is not a vision transformer", "use one whose name has `vit`"
        )
    if preset.pooling != "mean" and not getattr(vit, "has_class_token", False):
        raise ConfigError(f"extractor.vit.model={preset.timm} has no class token", "set -o extractor.vit.pooling=mean")
    if weights is not None:
        load_strictly(
            vit,
            to_timm(read_tensors(weights), vit, preset.format),
            file=weights,
            what=f"{preset.name} ({preset.timm})",
            hint="check extractor.vit.model against the file",
        )
    if preset.pooling == "cls":
        keep_class_token_only(vit)
    return Normalized(Pooled(vit, preset.pooling), preset.mean, preset.std).eval()


def create(preset: Preset) -> Any:
    """The timm model; classes and norms, which the preset names in words, are looked up."""
    import timm

    arguments = dict(preset.arguments)
    if "mlp_layer" in arguments:
        arguments["mlp_layer"] = getattr(timm.layers, arguments["mlp_layer"])
    if "norm_eps" in arguments:
        arguments["norm_layer"] = partial(timm.layers.LayerNorm, eps=arguments.pop("norm_eps"))
    return timm.create_model(preset.timm, pretrained=False, num_classes=0, **arguments)
