"""What each published encoder expects: tile size, resolution, channel statistics, pooling, licence.

Statistics are those its authors trained with, read in their release notes. For Lunit's encoders they differ from the
hub's configuration files, which state ImageNet's and a resize to 248 px: features made that way are other features.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from kras_plugins import ConfigError

if TYPE_CHECKING:
    from kras_extractor_vit import VitOptions

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
LUNIT_MEAN: Triple = (0.70322989, 0.53606487, 0.66096631)
LUNIT_STD: Triple = (0.21716536, 0.26081574, 0.20723464)
HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One encoder. `px` and `mpp` describe the tile it was trained on; `tcga` says whether TCGA slides were in its
    pre-training, which leaks (unlabelled) test slides into any TCGA experiment."""

    name: str
    timm: str
    source: str
    licence: str
    dim: int
    px: int = 224
    mpp: float = 0.5
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    pooling: Literal["cls", "mean"] = "cls"
    gated: bool = False
    tcga: bool | None = None
    citation: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _lunit(name: str, patch: int) -> Preset:
    return Preset(
        name=name,
        timm=f"vit_small_patch{patch}_224",
        source=f"hf:1aurent/vit_small_patch{patch}_224.lunit_dino/model.safetensors",
        licence="Lunit Public License (non-commercial, no patent use)",
        dim=384,
        mean=LUNIT_MEAN,
        std=LUNIT_STD,
        tcga=True,
        citation="Kang et al., CVPR 2023, arXiv 2212.04690",
    )


def _kaiko(name: str, timm: str, dim: int) -> Preset:
    return Preset(
        name=name,
        timm=timm,
        source=f"hf:1aurent/{timm.removesuffix('_dinov2')}.kaiko_ai_towards_large_pathology_fms/model.safetensors",
        licence="kaiko non-commercial",
        dim=dim,
        mean=HALF,
        std=HALF,
        tcga=True,
        citation="Aben et al., arXiv 2404.15217",
        arguments={"dynamic_img_size": True},
    )


PRESETS = {
    p.name: p
    for p in (
        _lunit("lunit-s16", 16),
        _lunit("lunit-s8", 8),
        _kaiko("kaiko-s16", "vit_small_patch16_224", 384),
        _kaiko("kaiko-s8", "vit_small_patch8_224", 384),
        _kaiko("kaiko-b16", "vit_base_patch16_224", 768),
        _kaiko("kaiko-b8", "vit_base_patch8_224", 768),
        Preset(
            name="uni",
            timm="vit_large_patch16_224",
            source="hf:MahmoodLab/UNI/pytorch_model.bin",
            licence="CC-BY-NC-ND-4.0",
            dim=1024,
            gated=True,
            tcga=False,
            citation="Chen et al., Nat Med 2024",
            arguments={"init_values": 1e-5, "dynamic_img_size": True},
        ),
        Preset(
            name="h-optimus-0",
            timm="vit_giant_patch14_reg4_dinov2",
            source="hf:bioptimus/H-optimus-0/pytorch_model.bin",
            licence="Apache-2.0",
            dim=1536,
            mean=(0.707223, 0.578729, 0.703617),
            std=(0.211883, 0.230117, 0.177517),
            gated=True,
            tcga=None,
            citation="Saillard et al., 2024, github.com/bioptimus/releases",
            arguments={"init_values": 1e-5, "img_size": 224},
        ),
    )
}


def resolve(options: VitOptions) -> Preset:
    """The preset that the options mean, or one made for a timm name.

    Raises ConfigError when the name is unknown or a preset's fixed px, mpp, mean or std is overridden.
    """
    preset = PRESETS.get(options.model)
    if preset is not None:
        changed = [k for k in ("px", "mpp", "mean", "std") if getattr(options, k) not in (None, getattr(preset, k))]
        if changed:
            raise ConfigError(
                f"extractor.vit.{changed[0]}={getattr(options, changed[0])}: preset {preset.name} was trained with "
                f"{getattr(preset, changed[0])}",
                "leave it out, or name the timm model instead of the preset",
            )
    else:
        preset = _from_timm(options)
    if options.weights:
        own = options.weights.startswith("random:")
        preset = replace(
            preset,
            source=options.weights,
            licence="none (random numbers)" if own else f"stated by whoever made {options.weights}",
            gated=False,
            tcga=False if own else preset.tcga,
        )
    return preset if options.pooling == "auto" else replace(preset, pooling=options.pooling)


def _from_timm(options: VitOptions) -> Preset:
    import timm

    if not timm.is_model(options.model):
        near = difflib.get_close_matches(options.model, [*PRESETS, *timm.list_models("*vit*")], n=3)
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
        return int(timm.create_model(name, pretrained=False, num_classes=0).num_features)
