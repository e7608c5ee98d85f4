"""The shipped demonstration encoder: the file is what the preset says, small, and unlike an untrained network."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from kras_extractor_vit.described import described
from kras_extractor_vit.presets import PRESETS
from kras_plugins.host.manager import discover
from kras_plugins.models.export import build_module
from kras_plugins.pretraining.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
MINI = PRESETS["vit-mini"]
VIT = discover().find("extractor", "vit").record


def test_the_file_describes_itself_as_the_preset_does() -> None:
    told = described(Path(MINI.source))
    assert told is not None
    for name in ("timm", "licence", "dim", "px", "mpp", "mean", "std", "pooling"):
        assert getattr(told, name) == getattr(MINI, name), name
    assert dict(told.arguments) == dict(MINI.arguments)


def test_it_is_small_enough_to_ship_and_as_large_as_stated() -> None:
    assert Path(MINI.source).stat().st_size <= 8_000_000
    module = build_module(VIT.models(VIT.options(model="vit-mini"))[0])
    assert MINI.parameters is not None
    assert abs(sum(p.numel() for p in module.parameters()) / 1e6 - MINI.parameters) < 0.05


def test_it_was_made_by_the_recipe_in_the_repository() -> None:
    with safe_open(MINI.source, "np") as f:
        made_by = json.loads(f.metadata()["kras_encoder"])["recipe"]
    recipe = Recipe(**tomllib.loads((ROOT / "training/vit_mini.toml").read_text()))
    assert made_by == recipe.model_dump(mode="json")


def test_features_of_unlike_tiles_are_unlike_and_of_a_mirrored_tile_nearly_the_same() -> None:
    """A collapsed or untrained-by-mistake network would fail one of the two."""
    rng = np.random.default_rng(0)
    smooth = np.linspace(90, 240, 224, dtype=np.float32)
    tiles = np.stack([np.repeat(smooth[:, None], 224, 1)] * 3, axis=-1)
    stripes = np.where((np.arange(224) // 4 % 2)[:, None, None], [120.0, 60, 150], [235, 200, 225])
    stripes = np.broadcast_to(stripes, (224, 224, 3))
    speckles = rng.integers(60, 255, (28, 28, 3)).repeat(8, 0).repeat(8, 1)
    batch = np.stack([tiles, stripes, speckles, speckles[:, ::-1]]).astype(np.uint8)
    module = build_module(VIT.models(VIT.options(model="vit-mini"))[0])
    with torch.inference_mode():
        f = torch.nn.functional.normalize(module(torch.from_numpy(batch)), dim=1)
    cosine = f @ f.T
    assert cosine[2, 3] > 0.95
    assert cosine[0, 1] < 0.9
    assert cosine[1, 2] < 0.9
