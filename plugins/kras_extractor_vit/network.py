"""The ModelSpec of `vit`: what its network takes, gives and depends on. It is described without importing torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kras_extractor_vit.presets import Preset
from kras_extractor_vit.resolve import resolve
from kras_plugins import ModelSpec, TensorSpec

if TYPE_CHECKING:
    import torch

    from kras_extractor_vit import VitOptions


def spec(options: VitOptions) -> ModelSpec:
    """The ModelSpec for these options; its weights may not be on this machine yet."""
    return spec_of(resolve(options))


def spec_of(preset: Preset) -> ModelSpec:
    """The ModelSpec of one encoder."""
    return ModelSpec(
        name="vit",
        inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(preset.px, preset.px, 3)),),
        outputs=(TensorSpec(name="features", dtype="float32", shape=(preset.dim,)),),
        build=partial(_build, preset),
        weights=preset.weights,
        transform={
            "architecture": preset.timm,
            "arguments": dict(preset.arguments),
            "px": preset.px,
            "mpp": preset.mpp,
            "mean": list(preset.mean),
            "std": list(preset.std),
            "pooling": preset.pooling,
        },
    )


def _build(preset: Preset, weights: Path | None) -> torch.nn.Module:
    from kras_extractor_vit.transformer import build

    return build(preset, weights)
