"""The network behind `vit`: normalization, transformer, pooling in one module; and its ModelSpec."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kras_extractor_vit.last_block import keep_class_token_only
from kras_extractor_vit.presets import Preset
from kras_extractor_vit.published import to_timm
from kras_extractor_vit.resolve import resolve
from kras_plugins import BackendError, ConfigError, ModelSpec, TensorSpec

if TYPE_CHECKING:
    from kras_extractor_vit import VitOptions


class Encoder(torch.nn.Module):
    """uint8[n h w 3] -> float32[n feature]: scale to [0, 1], normalize, transformer, pooled tokens."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, vit: torch.nn.Module, preset: Preset) -> None:
        super().__init__()
        self.vit = vit
        self.pooling = preset.pooling
        # In 0..255, so that the graph holds one subtraction and one product.
        self.register_buffer("mean", torch.tensor(preset.mean).reshape(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(preset.std).reshape(1, 3, 1, 1) * 255)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Features of a batch of tiles."""
        x = (tiles.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std
        tokens: torch.Tensor = self.vit.forward_features(x)  # type: ignore[operator]
        if self.pooling == "cls":
            return tokens[:, 0]
        prefix: Any = self.vit.num_prefix_tokens  # class token and registers
        mean = tokens[:, prefix:].mean(dim=1)
        return mean if self.pooling == "mean" else torch.cat([tokens[:, 0], mean], dim=1)


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
    seed = preset.source.removeprefix("random:")
    if weights is None and not seed.isdigit():
        raise ConfigError(f"extractor.vit.weights={preset.source}: no seed", "write random:0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed) if weights is None else 0)
        vit = _create(preset)
    if preset.pooling != "mean" and not getattr(vit, "has_class_token", False):
        raise ConfigError(f"extractor.vit.model={preset.timm} has no class token", "set -o extractor.vit.pooling=mean")
    if weights is not None:
        _load_strictly(vit, weights, preset)
    if preset.pooling == "cls":
        keep_class_token_only(vit)
    return Encoder(vit.eval(), preset).eval()


def _create(preset: Preset) -> Any:
    """The timm model; classes and norms, which the preset names in words, are looked up."""
    import timm

    arguments = dict(preset.arguments)
    if "mlp_layer" in arguments:
        arguments["mlp_layer"] = getattr(timm.layers, arguments["mlp_layer"])
    if "norm_eps" in arguments:
        arguments["norm_layer"] = partial(timm.layers.LayerNorm, eps=arguments.pop("norm_eps"))
    return timm.create_model(preset.timm, pretrained=False, num_classes=0, **arguments)


def _load_strictly(vit: torch.nn.Module, file: Path, preset: Preset) -> None:
    """Load a state dict whose names must all match but those of a classification head, which is not built."""
    state = to_timm(_read(file), vit, preset.format)
    own = vit.state_dict()
    problems = [f"missing {k}" for k in own if k not in state]
    problems += [f"unexpected {k}" for k in state if k not in own]
    problems += [
        f"{k} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BackendError(
            f"{file}: not the weights of {preset.name} ({preset.timm}): {'; '.join(problems[:5])}{more}",
            "check extractor.vit.model against the file",
        )
    vit.load_state_dict(state)


def _read(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file; BackendError where it holds anything else. No code in it is ever run."""
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: dict[str, torch.Tensor] = load_file(file)
        return tensors
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:  # torch has no error of its own for files that hold objects
        raise BackendError(
            f"{file}: not a file of tensors alone: {e}", "take the safetensors file, or convert it"
        ) from e
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state)
    return dict(state)
