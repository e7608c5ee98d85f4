"""Extractor `vit`: any timm vision transformer, by preset or name, with weights from a file or the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from kras_plugins import ExtractorPlugin, ModelSpec, Options, TileSpec, Weights, hookimpl, location


class VitOptions(Options):
    """Options of extractor `vit`."""

    model: str = Field(
        "",
        description="a preset (`lunit-s16`, `uni`, …; see `kras model list`) or any timm model name; empty: what the "
        "weights file states (`kras pretrain` writes such files), else `lunit-s16`",
    )
    weights: str = location(
        "",
        changes_results=True,
        description="a .safetensors, .pth or .bin file; `random:SEED` for random ones; empty for the preset's own",
    )
    revision: str = Field("", description="commit, tag or branch of a preset's weights on the hub; empty: main")
    pooling: Literal["auto", "cls", "mean", "cls+mean"] = Field(
        "auto",
        description="the class token, the mean of the patch tokens (without registers), both concatenated, or as in "
        "the preset",
    )
    px: int | None = Field(
        None, ge=16, le=1024, description="tile side in pixels, for a timm name; a preset fixes its own"
    )
    mpp: float | None = Field(
        None,
        gt=0,
        description="µm per pixel of the tiles, for a timm name (0.5 if not given); a preset states which it allows",
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="mean of each channel in [0, 1], for a timm name; a preset fixes its own"
    )
    std: tuple[float, float, float] | None = Field(
        None,
        description="standard deviation of each channel in [0, 1], for a timm name; a preset fixes its own",
    )


def _tile(options: VitOptions) -> TileSpec:
    from kras_extractor_vit.resolve import resolve

    preset = resolve(options)
    return TileSpec(px=preset.px, mpp=preset.mpp)


def _models(options: VitOptions) -> tuple[ModelSpec, ...]:
    from kras_extractor_vit.network import spec

    return (spec(options),)


def _catalog() -> Mapping[str, Weights]:
    from kras_extractor_vit.presets import PRESETS

    return {name: preset.weights for name, preset in PRESETS.items()}


@hookimpl
def kras_extractors() -> Iterable[ExtractorPlugin]:
    """Yield `vit`."""
    yield ExtractorPlugin(
        name="vit",
        summary="a vision transformer's class token or mean patch token for every tile (timm, by preset or name)",
        options=VitOptions,
        tile=_tile,
        models=_models,
        catalog=_catalog,
    )
