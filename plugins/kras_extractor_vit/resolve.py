"""Which encoder the options mean: the one that a weights file states, a preset, or any timm name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_extractor_vit.presets import DEFAULT, IMAGENET_MEAN, IMAGENET_STD, PRESETS, Preset
from kras_plugins import ConfigError, Weights
from kras_plugins.models.weights import locate

if TYPE_CHECKING:
    from kras_extractor_vit import VitOptions


def resolve(options: VitOptions) -> Preset:
    """The preset that the options mean: the one that the weights file states, a named one, or one for a timm name.

    Raises ConfigError when the name is unknown, the file contains another model, or what a preset fixes (px, mean, std,
    mpp except those it allows) is overridden.
    """
    preset = _of_file(options) or PRESETS.get(options.model or DEFAULT)
    preset = _from_timm(options) if preset is None else _allowed(preset, options)
    if options.weights and preset.source != options.weights:
        own = options.weights.startswith("random:")
        preset = replace(
            preset,
            source=options.weights,
            licence="none (random numbers)" if own else f"stated by whoever made {options.weights}",
            gated=False,
            tcga=False if own else preset.tcga,
            citation="" if own else preset.citation,
            caution="" if own else preset.caution,
        )
    if options.revision:
        preset = replace(preset, revision=options.revision)
    return preset if options.pooling == "auto" else _pooled(preset, options.pooling)


def _allowed(preset: Preset, options: VitOptions) -> Preset:
    """The preset at the requested resolution; ConfigError with the allowed values for anything else it fixes."""
    allowed: dict[str, tuple[Any, ...]] = {
        "px": (preset.px,),
        "mpp": (preset.mpp, *preset.mpps),
        "mean": (preset.mean,),
        "std": (preset.std,),
    }
    for key, values in allowed.items():
        given = getattr(options, key)
        if given is not None and given not in values:
            raise ConfigError(
                f"extractor.vit.{key}={given}: preset {preset.name} was trained with "
                f"{' or '.join(str(v) for v in values)}",
                "leave it out, or name the timm model instead of the preset",
            )
    return preset if options.mpp is None else replace(preset, mpp=options.mpp)


def _pooled(preset: Preset, pooling: Any) -> Preset:
    width = preset.dim // 2 if preset.pooling == "cls+mean" else preset.dim
    return replace(preset, pooling=pooling, dim=2 * width if pooling == "cls+mean" else width)


def _of_file(options: VitOptions) -> Preset | None:
    """The encoder that the weights file states, if any; `model` may be left out or must agree."""
    from kras_extractor_vit.described import described

    path = Path(options.weights).expanduser() if options.weights else None
    if path is not None and path.is_dir():
        path = locate(Weights(source=str(path), licence=""))
    found = described(path) if path is not None else None
    if found is None or not options.model:
        return found and replace(found, source=options.weights)
    named = PRESETS.get(options.model)
    timm, arguments = (named.timm, dict(named.arguments)) if named else (options.model, dict(found.arguments))
    if (timm, arguments) != (found.timm, dict(found.arguments)):
        raise ConfigError(
            f"extractor.vit.model={options.model}: {options.weights} contains a {found.timm} {dict(found.arguments)}",
            "leave extractor.vit.model out: the file states its model",
        )
    return replace(found, source=options.weights)


def _from_timm(options: VitOptions) -> Preset:
    import timm

    if not timm.is_model(options.model):
        names = [*PRESETS, *timm.list_models("*vit*")]
        near = difflib.get_close_matches(options.model, names, n=3)
        raise ConfigError(
            f"extractor.vit.model={options.model}: neither a preset nor a timm model",
            f"did you mean {' or '.join(near)}?" if near else f"presets: {', '.join(PRESETS)}",
        )
    config = timm.get_pretrained_cfg(options.model, allow_unregistered=False)
    native = config.input_size[-1] if config is not None else 224
    hub = config.hf_hub_id if config is not None else None
    if hub is None and not options.weights:
        raise ConfigError(
            f"extractor.vit.model={options.model}: timm knows no weights for it",
            "give -o extractor.vit.weights=FILE, or random:0 for seeded random ones",
        )
    px = options.px or native
    arguments: dict[str, Any] = {} if px == native else {"img_size": px}
    return Preset(
        name=options.model,
        timm=options.model,
        source=f"hf:{hub}/model.safetensors",
        licence=(config.license if config is not None else None) or "not stated",
        dim=_width(options.model),
        px=px,
        mpp=options.mpp or 0.5,
        mean=options.mean or (tuple(config.mean) if config is not None else IMAGENET_MEAN),
        std=options.std or (tuple(config.std) if config is not None else IMAGENET_STD),
        arguments=arguments,
    )


def _width(name: str) -> int:
    import timm
    import torch

    with torch.device("meta"):
        create: Callable[..., Any] = timm.create_model
        return int(create(name, pretrained=False, num_classes=0).num_features)
