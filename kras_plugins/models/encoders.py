"""Describe an image encoder (a torch network, its weights and statistics) as the ModelSpec that backends run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.contracts.model import ModelSpec, TensorSpec, Weights
from kras_plugins.data import TileSpec

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def encoder(
    name: str,
    network: Callable[[], torch.nn.Module],
    *,
    architecture: str,
    tile: TileSpec,
    dim: int,
    weights: Weights,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> ModelSpec:
    """The ModelSpec of an image encoder: one input `tiles`, uint8[n h w 3], one output `features`, float32[n dim].

    `network()` makes the untrained module, which maps float32[n 3 h w] to float32[n dim]. Its input is normalized: each
    channel, in [0, 1], minus `mean`, divided by `std` (ImageNet's where not given). Its weights come from a file that
    must fit it tensor by tensor (.safetensors, or a torch file without code; a timm model's own head may be left over),
    or are random, seeded by `weights.source` `random:SEED`. `architecture` names the network in a word: together with
    px, mpp, mean and std it distinguishes stored features, so change it with the network.
    """
    side = tile.px + 2 * tile.halo_px
    return ModelSpec(
        name=name,
        inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(side, side, 3)),),
        outputs=(TensorSpec(name="features", dtype="float32", shape=(dim,)),),
        build=partial(_build, network, architecture, weights.source, mean, std),
        weights=weights,
        transform={
            "architecture": architecture,
            "px": side,
            "mpp": tile.mpp,
            "mean": list(mean),
            "std": list(std),
        },
    )


def _build(
    network: Callable[[], torch.nn.Module],
    architecture: str,
    source: str,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    file: Path | None,
) -> torch.nn.Module:
    from kras_plugins.models.network import Normalized, load_strictly, read_tensors, seeded

    made = seeded(source, network)
    if file is not None:
        hint = "take the file that belongs to this architecture"
        load_strictly(made, _headless(read_tensors(file), made), file=file, what=architecture, hint=hint)
    return Normalized(made, mean, std).eval()


def _headless(state: dict[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors without those of the classification head that timm would give the network."""
    facts: Any = getattr(network, "pretrained_cfg", {})
    heads = facts.get("classifier") or ()
    prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    own = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name in own or not name.startswith(prefixes)}
