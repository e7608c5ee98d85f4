"""What each published encoder expects: tile size, resolution, channel statistics, pooling, license.

Statistics are those its authors trained with, read in their release notes. For Lunit's encoders they differ from the
hub's configuration files, which state ImageNet's and a resize to 248 px, and thus give other features.
Sources of every fact, and what is only recalled: docs/how-to/encoders.md. Loaders that were read: TRIDENT's
`patch_encoder_models/load.py`, slide2vec's `encoders/models`, eva's `backbones/pathology`, the registry of
lazyslide-models 0.1.0, timm 1.0.31 and transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kras_plugins import Weights

Triple = tuple[float, float, float]
Pooling = Literal["cls", "mean", "cls+mean"]
Format = Literal["timm", "timm-resampled", "dinov2", "transformers-vit", "transformers-dinov2"]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
LUNIT_MEAN: Triple = (0.70322989, 0.53606487, 0.66096631)
LUNIT_STD: Triple = (0.21716536, 0.26081574, 0.20723464)
BIOPTIMUS_MEAN: Triple = (0.707223, 0.578729, 0.703617)
BIOPTIMUS_STD: Triple = (0.211883, 0.230117, 0.177517)
HIBOU_MEAN: Triple = (0.7068, 0.5755, 0.722)
HIBOU_STD: Triple = (0.195, 0.2316, 0.1816)
HALF: Triple = (0.5, 0.5, 0.5)

OWKIN = "Owkin non-commercial"
BY_NC_ND = "CC-BY-NC-ND-4.0"
SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One encoder. `px` and `mpp` describe the tile it was trained on; `mpps`: further resolutions it allows.

    `caution`: a warning for everybody who uses it. `dim` is the width of the feature, pooling included. `tcga`
    says whether TCGA slides were in its pre-training, which leaks (unlabeled) test slides into any TCGA experiment;
    None: its authors do not say. `arguments` go to timm, classes and norms by name. `format`: how the published file
    names its tensors (`published.py`). `parameters` in millions.
    """

    name: str
    timm: str
    source: str
    licence: str
    dim: int
    px: int = 224
    mpp: float = 0.5
    mpps: tuple[float, ...] = ()
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    pooling: Pooling = "cls"
    gated: bool = False
    tcga: bool | None = None
    citation: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    format: Format = "timm"
    parameters: float | None = None
    revision: str = "main"
    caution: str = ""

    @property
    def weights(self) -> Weights:
        """Where its weights are and on what terms."""
        return Weights(
            source=self.source,
            licence=self.licence,
            revision=self.revision,
            gated=self.gated,
            citation=self.citation,
            tcga=self.tcga,
            parameters=self.parameters,
            caution=self.caution,
        )


def _lunit(name: str, patch: int, parameters: float) -> Preset:
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
        parameters=parameters,
    )


def _kaiko(name: str, timm: str, dim: int, parameters: float, **other: Any) -> Preset:
    return Preset(
        name=name,
        timm=timm,
        source=f"hf:1aurent/{timm}.kaiko_ai_towards_large_pathology_fms/model.safetensors",
        licence="kaiko non-commercial",
        dim=dim,
        mean=HALF,
        std=HALF,
        tcga=True,
        citation="Aben et al., arXiv 2404.15217",
        parameters=parameters,
        **other,
    )


def _virchow(name: str, source: str, registers: int, **other: Any) -> Preset:
    return Preset(
        name=name,
        timm="vit_huge_patch14_224",
        source=source,
        dim=2560,
        pooling="cls+mean",
        gated=True,
        tcga=False,
        arguments={"init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": registers, **SWIGLU},
        parameters=631.2,
        **other,
    )


def _bioptimus(name: str, source: str, timm: str, dim: int, licence: str, parameters: float, **other: Any) -> Preset:
    return Preset(
        name=name,
        timm=timm,
        source=source,
        licence=licence,
        dim=dim,
        mean=BIOPTIMUS_MEAN,
        std=BIOPTIMUS_STD,
        gated=True,
        parameters=parameters,
        **other,
    )


def _hibou(name: str, source: str, timm: str, dim: int, ratio: float, parameters: float) -> Preset:
    return Preset(
        name=name,
        timm=timm,
        source=source,
        licence="Apache-2.0",
        dim=dim,
        mean=HIBOU_MEAN,
        std=HIBOU_STD,
        gated=True,
        citation="Nechaev et al., arXiv 2406.05074",
        arguments={"img_size": 224, "mlp_ratio": ratio, **SWIGLU},
        format="transformers-dinov2",
        parameters=parameters,
    )


_GIANT = {"img_size": 224, "init_values": 1e-5}

PRESETS = {
    p.name: p
    for p in (
        _lunit("lunit-s16", 16, 21.7),
        _lunit("lunit-s8", 8, 21.7),
        _kaiko("kaiko-s16", "vit_small_patch16_224", 384, 21.7),
        _kaiko("kaiko-s8", "vit_small_patch8_224", 384, 21.7),
        _kaiko("kaiko-b16", "vit_base_patch16_224", 768, 85.8),
        _kaiko("kaiko-b8", "vit_base_patch8_224", 768, 85.8),
        _kaiko(
            "kaiko-l14",
            "vit_large_patch14_reg4_dinov2",
            1024,
            304.4,
            arguments={"img_size": 224},
            format="timm-resampled",
        ),
        Preset(
            name="phikon",
            timm="vit_base_patch16_224",
            source="hf:owkin/phikon/pytorch_model.bin",
            licence=OWKIN,
            dim=768,
            tcga=True,
            citation="Filiot et al., medRxiv 2023.07.21.23292757",
            arguments={"norm_eps": 1e-12},
            format="transformers-vit",
            parameters=85.8,
        ),
        Preset(
            name="phikon-v2",
            timm="vit_large_patch16_224",
            source="hf:owkin/phikon-v2/model.safetensors",
            licence=OWKIN,
            dim=1024,
            tcga=True,
            citation="Filiot et al., arXiv 2409.09173",
            arguments={"init_values": 1.0},
            format="transformers-dinov2",
            parameters=303.4,
        ),
        Preset(
            name="uni",
            timm="vit_large_patch16_224",
            source="hf:MahmoodLab/UNI/pytorch_model.bin",
            licence=BY_NC_ND,
            dim=1024,
            gated=True,
            tcga=False,
            citation="Chen et al., Nat Med 2024, 10.1038/s41591-024-02857-3",
            arguments={"init_values": 1e-5},
            parameters=303.4,
        ),
        Preset(
            name="uni2-h",
            timm="vit_giant_patch14_224",
            source="hf:MahmoodLab/UNI2-h/pytorch_model.bin",
            licence=BY_NC_ND,
            dim=1536,
            gated=True,
            tcga=False,
            citation="Chen et al., Nat Med 2024, 10.1038/s41591-024-02857-3 (UNI 2)",
            arguments={
                "depth": 24,
                "num_heads": 24,
                "embed_dim": 1536,
                "mlp_ratio": 5.33334,
                "init_values": 1e-5,
                "no_embed_class": True,
                "reg_tokens": 8,
                **SWIGLU,
            },
            parameters=681.4,
        ),
        _virchow(
            "virchow",
            "hf:paige-ai/Virchow/pytorch_model.bin",
            0,
            licence="Apache-2.0",
            citation="Vorontsov et al., Nat Med 2024, 10.1038/s41591-024-03141-0",
        ),
        _virchow(
            "virchow2",
            "hf:paige-ai/Virchow2/pytorch_model.bin",
            4,
            mpps=(1.0, 2.0),
            licence=BY_NC_ND,
            citation="Zimmermann et al., arXiv 2408.00738",
        ),
        _bioptimus(
            "h-optimus-0",
            "hf:bioptimus/H-optimus-0/pytorch_model.bin",
            "vit_giant_patch14_reg4_dinov2",
            1536,
            "Apache-2.0",
            1134.8,
            citation="Saillard et al., 2024, github.com/bioptimus/releases",
            arguments=_GIANT,
        ),
        _bioptimus(
            "h-optimus-1",
            "hf:bioptimus/H-optimus-1/pytorch_model.bin",
            "vit_giant_patch14_reg4_dinov2",
            1536,
            BY_NC_ND,
            1134.8,
            citation="Bioptimus, 2025, huggingface.co/bioptimus/H-optimus-1",
            arguments=_GIANT,
        ),
        _bioptimus(
            "h0-mini",
            "hf:bioptimus/H0-mini/pytorch_model.bin",
            "vit_base_patch14_reg4_dinov2",
            768,
            BY_NC_ND,
            85.7,
            tcga=True,
            citation="Filiot et al., arXiv 2501.16239",
            arguments={**_GIANT, "mlp_ratio": 5.33334, **SWIGLU},
        ),
        Preset(
            name="gigapath",
            timm="vit_giant_patch14_dinov2",
            source="hf:prov-gigapath/prov-gigapath/pytorch_model.bin",
            licence="Apache-2.0 with conditions (research)",
            dim=1536,
            gated=True,
            tcga=False,
            citation="Xu et al., Nature 2024, 10.1038/s41586-024-07441-w",
            arguments={**_GIANT, "patch_size": 16},
            parameters=1134.9,
        ),
        _hibou("hibou-b", "hf:histai/hibou-b/model.safetensors", "vit_base_patch14_reg4_dinov2", 768, 5.33334, 85.7),
        _hibou("hibou-L", "hf:histai/hibou-L/model.safetensors", "vit_large_patch14_reg4_dinov2", 1024, 5.34375, 303.7),
        Preset(
            name="gpfm",
            timm="vit_large_patch14_dinov2",
            source="hf:majiabo/GPFM/GPFM.pth",
            licence=BY_NC_ND,
            dim=1024,
            tcga=True,
            citation="Ma et al., Nat Biomed Eng 2025, 10.1038/s41551-025-01488-4",
            arguments=_GIANT,
            parameters=303.2,
        ),
        Preset(
            name="midnight-12k",
            timm="vit_giant_patch14_dinov2",
            source="hf:kaiko-ai/midnight/model.safetensors",
            licence="MIT",
            dim=3072,
            mpps=(0.25, 1.0, 2.0),
            mean=HALF,
            std=HALF,
            pooling="cls+mean",
            tcga=True,
            citation="Karasikov et al., arXiv 2504.05186",
            arguments=_GIANT,
            format="transformers-dinov2",
            parameters=1136.5,
        ),
        Preset(
            name="openmidnight",
            timm="vit_giant_patch14_reg4_dinov2",
            source="hf:SophontAI/OpenMidnight/teacher_checkpoint_load.pt",
            licence="Apache-2.0",
            dim=1536,
            gated=True,
            tcga=True,
            citation="Kaplan et al., 2025, github.com/MedARC-AI/OpenMidnight",
            arguments=_GIANT,
            format="dinov2",
            parameters=1134.8,
        ),
        Preset(
            name="vit-mini",
            timm="vit_tiny_patch16_224",
            source=str(Path(__file__).with_name("vit-mini.safetensors")),
            licence="Apache-2.0",
            dim=192,
            mean=(0.70, 0.55, 0.68),
            std=(0.21, 0.25, 0.20),
            tcga=True,  # some of its images may be TCGA's: docs/models/vit-mini.md
            citation="ours, made by `kras pretrain` from free pictures: docs/models/vit-mini.md",
            arguments={"depth": 6},
            parameters=2.9,
            caution="vit-mini is a demonstration encoder, trained on a few square millimeters of tissue, none of it "
            "lung cancer; use a published encoder or your own for research",
        ),
    )
}


DEFAULT = "lunit-s16"
"""The preset where neither `model` nor the weights file states another."""
