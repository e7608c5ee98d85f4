"""The result: an encoder's weights in safetensors, whose metadata says how they must be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from kras_plugins.pretraining.checkpoint import write_safetensors
from kras_plugins.pretraining.network import Network, architecture
from kras_plugins.pretraining.recipe import Recipe

KEY = "kras_encoder"
"""Name of the metadata entry that extractor `vit` reads: JSON of `describe`."""


def describe(recipe: Recipe, dim: int, licence: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """How the encoder is built, what input it expects, and the recipe it was made with.

    `data`: counts of what it was trained on and a note in the user's words. File names stay out: they may be names of
    patients.
    """
    return {
        "architecture": recipe.model,
        "arguments": architecture(recipe),
        "px": recipe.px,
        "mpp": recipe.mpp,
        "mean": list(recipe.mean),
        "std": list(recipe.std),
        "pooling": "cls",
        "dim": dim,
        "licence": licence,
        "data": dict(data),
        "method": "DINO (kras pretrain)",
        "recipe": recipe.model_dump(mode="json"),
    }


def write_weights(file: Path, teacher: Network, description: Mapping[str, Any], dtype: Literal["f32", "f16"]) -> None:
    """Write the teacher's transformer, without its head."""
    kind = {"f32": torch.float32, "f16": torch.float16}[dtype]
    tensors = {k: v.to(kind) for k, v in teacher.backbone.state_dict().items()}
    write_safetensors(file, tensors, {KEY: json.dumps(description, sort_keys=True)})
