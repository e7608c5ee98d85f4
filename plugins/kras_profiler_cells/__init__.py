"""Profiler `cells`: nuclei outlined and typed by a small trained network, or by any ONNX model of its conventions.

The shipped weights are described in docs/models/cells.md; `training/cells.py` in the repository makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from kras_plugins import (
    CELL_COLUMNS,
    ModelSpec,
    Options,
    ProfilerPlugin,
    TensorSpec,
    TileSpec,
    Weights,
    hookimpl,
    location,
)

if TYPE_CHECKING:
    import torch

    from kras_plugins import Infer, Profiler

TILE = TileSpec(px=512, mpp=0.5, halo_px=32)
WEIGHTS = Path(__file__).parent / "cells.safetensors"
WORDS: tuple[str, ...] = ("tumor", "lymphocyte", "fibroblast")
"""The class of each channel of the shipped network."""
TOP = 255
"""The level of a map in bytes that represents 1."""


class CellsOptions(Options):
    """Options of the profiler `cells`."""

    model: str = location(
        "",
        changes_results=True,
        description="an ONNX file to run instead of the shipped network; see docs/models/cells.md",
    )
    classes: tuple[str, ...] = Field(
        (),
        description="with `model`: names of the channels of its output `classes`, in order; "
        "empty: from the file's metadata `class_names`",
    )
    class_names: dict[str, str] = Field(
        {},
        description='with `model`: its class names to ours, such as {neoplastic="tumor", inflammatory="lymphocyte"}; '
        "`background` stays as it is",
    )
    mpp: float = Field(TILE.mpp, gt=0, description="with `model`: micrometers per pixel it was trained at")
    px: int = Field(0, ge=0, le=8192, description="with `model`: tile side without halo; 0: from the file, else 512")
    halo_px: int = Field(TILE.halo_px, ge=0, description="with `model`: pixels of context on each side of a tile")
    min_area_um2: float = Field(8.0, gt=0, description="smaller nuclei are dropped (debris, fragments), in µm²")
    max_area_um2: float = Field(400.0, gt=0, description="larger nuclei are dropped (folds, clumps), in µm²")
    min_prob: float = Field(
        0.75, ge=0, le=1, description="nuclei whose mean probability of being one is lower are dropped"
    )
    min_class_prob: float = Field(
        0.5, ge=0, le=1, description="nuclei whose likeliest class is less probable than this are `other`"
    )
    max_unlike: float = Field(
        0.5,
        ge=0,
        le=1,
        description="nuclei are `other`, and cancer epithelium does not count, where tissue is more unlike training "
        "than this; 0.5: the limit that 95 % of held-out tissue stays below; 1: everything is typed",
    )
    flips: bool = Field(
        False, description="average the maps of each tile and its three mirror images: four times the network's work"
    )


def tile(options: CellsOptions) -> TileSpec:
    """Which tiles the chosen network wants; raises ConfigError when the file cannot be used."""
    if not options.model:
        return TILE
    from kras_profiler_cells.foreign import inspect

    return inspect(options).tile


def models(options: CellsOptions) -> tuple[ModelSpec, ...]:
    """The one network: a tile with its halo to maps of nuclei and classes; raises ConfigError for an unusable file."""
    if options.model:
        from kras_profiler_cells.foreign import inspect

        return (inspect(options).spec,)
    side = TILE.px + 2 * TILE.halo_px
    shapes = {
        "nucleus": (side, side),
        "distance": (side, side),
        "classes": (len(WORDS), side // 2, side // 2),
        "unlike": (side // 64, side // 64),
    }
    return (
        ModelSpec(
            name="cells",
            inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(side, side, 3)),),
            outputs=tuple(TensorSpec(name=name, dtype="uint8", shape=shape) for name, shape in shapes.items()),
            build=_build,
            weights=Weights(
                source=str(WEIGHTS),
                licence="Apache-2.0",
                citation="trained on BBBC038 (CC0), BRCA-M2C and HGSC of histolytics (BSD-3); see docs/models/cells.md",
            ),
            transform={"px": side, "mpp": TILE.mpp, "mean": 170, "std": 60, "words": list(WORDS)},
            version=5,
            max_batch=16,
        ),
    )


def provides(options: CellsOptions) -> frozenset[str]:
    """The classes that the chosen network distinguishes, `other` for nuclei it is unsure of, and all columns."""
    words = WORDS
    if options.model:
        from kras_profiler_cells.foreign import inspect

        words = inspect(options).words
    return frozenset(words) - {"background"} | {"other"} | frozenset(CELL_COLUMNS)


def _build(weights: Path | None) -> torch.nn.Module:
    from kras_profiler_cells.network import load

    assert weights is not None
    return load(weights)


def create(options: CellsOptions, infer: Mapping[str, Infer]) -> Profiler:
    """The network with the decoder that turns its maps of a tile into cells."""
    from kras_profiler_cells.decode import Decode
    from kras_profiler_cells.profiler import Cells

    words = WORDS
    if options.model:
        from kras_profiler_cells.foreign import inspect

        words = inspect(options).words
    limits = (options.min_area_um2, options.max_area_um2, options.min_prob, options.min_class_prob)
    decode = Decode(*limits, words, options.max_unlike)
    (spec,) = models(options)
    return Cells(decode, spec.inputs[0].name, infer[spec.name], flips=options.flips)


@hookimpl
def kras_profilers() -> Iterable[ProfilerPlugin]:
    """Provide the profiler `cells`."""
    yield ProfilerPlugin(
        name="cells",
        summary="Nuclei by a small trained network (or your ONNX model): tumor, lymphocyte, fibroblast, other",
        options=CellsOptions,
        result_version=6,
        tile=tile,
        models=models,
        provides=provides,
        create=create,
    )
