"""The ModelSpec of `vit`: what its network takes, returns and depends on, described without importing torch."""

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

SMALL_DIM, SMALL_BATCH = 384, 512
"""Up to the width of a ViT-S, a user may request a batch this large: by calculation, its activations take about 1 GB
with patches of 16 pixels and 4 GB with patches of 8."""


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
        max_batch=SMALL_BATCH if preset.dim <= SMALL_DIM and preset.px <= 224 else ModelSpec.max_batch,
    )


def _build(preset: Preset, weights: Path | None) -> torch.nn.Module:
    from kras_extractor_vit.transformer import build

    return build(preset, weights)
