"""Published state dicts -> timm's names: one key map for files made for transformers or DINOv2, nothing executed.

Encoders published for transformers are built with timm's blocks, which compute the same; only names differ, and where
the position embedding of the class token is stored. Names as in the files on the hub, which transformers 5 itself maps
(its `conversion_mapping.py`). Compared with transformers 5.24's own modules with seeded weights: differences of at
most 4e-7 of the largest number (docs/how-to/encoders.md); never run on the real weights here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from kras_extractor_vit.presets import Format

State = dict[str, torch.Tensor]

_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_BLOCK = {
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "norm1": "norm1",
    "norm2": "norm2",
    "layer_scale1": "ls1",
    "layer_scale2": "ls2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
}
_QKV = re.compile(r"attention\.attention\.(query|key|value)\.(weight|bias)")
_UNUSED = re.compile(r"head\.|embeddings\.mask_token$|pooler\.|classifier\.")


def to_timm(state: Mapping[str, Any], vit: Any, format: Format) -> State:
    """The state dict under the names of timm model `vit`; unknown tensors keep their names, which strict loading
    reports."""
    state = {k: v for k, v in state.items() if not _UNUSED.match(k)}
    if format == "dinov2":
        from timm.models.vision_transformer import checkpoint_filter_fn

        # Its mask token identifies these names for timm; a checkpoint of a whole training has heads as well.
        state = {k: v for k, v in state.items() if "head" not in k}
        return dict(checkpoint_filter_fn({"mask_token": None, **state}, vit))
    if format == "timm-resampled":
        from timm.layers import resample_abs_pos_embed

        prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
        grid = list(vit.patch_embed.grid_size)
        return {**state, "pos_embed": resample_abs_pos_embed(state["pos_embed"], grid, num_prefix_tokens=prefix)}
    foreign = format.startswith("transformers") and any("embeddings." in k for k in state)
    return _from_transformers(state, vit) if foreign else state  # a file that somebody converted already is timm's


def _from_transformers(state: State, vit: Any) -> State:
    found: State = {}
    attention: dict[str, State] = {}
    for key, value in state.items():
        name = re.sub(r"^(vit|dinov2|model)\.", "", key)
        inside = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name)
        if inside is None:
            found[_OUTSIDE.get(name, key)] = value
            continue
        block, rest = f"blocks.{inside[1]}", inside[2]
        if part := _QKV.fullmatch(rest):
            attention.setdefault(f"{block}.attn.qkv.{part[2]}", {})[part[1]] = value
        else:
            module, _, leaf = rest.rpartition(".")
            found[f"{block}.{_BLOCK[module]}.{leaf.replace('lambda1', 'gamma')}" if module in _BLOCK else key] = value
    for key, parts in attention.items():
        if len(parts) == 3:
            found[key] = torch.cat([parts["query"], parts["key"], parts["value"]])
    return _place(found, vit) if "pos_embed" in found and "cls_token" in found else found


def _place(state: State, vit: Any) -> State:
    """Position embeddings for the tile size of `vit`, interpolated as transformers does for another size.

    timm's models with registers add none to the class token: there it becomes part of that token.
    """
    positions = state["pos_embed"].float()
    grid, side = vit.patch_embed.grid_size, round((positions.shape[1] - 1) ** 0.5)
    patches = positions[:, 1:]
    if (side, side) != tuple(grid) and side * side == patches.shape[1]:
        square = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        square = F.interpolate(square, size=tuple(grid), mode="bicubic", antialias="reg_token" in state)
        patches = square.flatten(2).transpose(1, 2)
    if vit.no_embed_class:
        return {**state, "cls_token": state["cls_token"] + positions[:, :1], "pos_embed": patches}
    return {**state, "pos_embed": torch.cat([positions[:, :1], patches], dim=1)}
