"""Profiler `cells`: nuclei by fixed stain and blob filters, outlined by watershed, typed by their shape and stain.

An untrained first version: the network holds published stain vectors and Gaussians, no learned number. Its outputs
(`nucleus`, `distance`) are those a trained model gives, so that one can take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kras_plugins import (
    CELL_COLUMNS,
    Infer,
    ModelSpec,
    Options,
    Profiler,
    ProfilerPlugin,
    TensorSpec,
    Tile,
    TileCells,
    TileSpec,
    Weights,
    hookimpl,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

TILE = TileSpec(px=512, mpp=0.5, halo_px=32)
SIDE = TILE.px + 2 * TILE.halo_px
CLASSES = frozenset({"tumor", "lymphocyte", "fibroblast", "other"})


class CellsOptions(Options):
    """Options of the profiler `cells`."""

    min_area_um2: float = Field(8.0, gt=0, description="smaller nuclei are dropped (debris, fragments), in µm²")
    max_area_um2: float = Field(400.0, gt=0, description="larger nuclei are dropped (folds, clumps), in µm²")


def models(_options: CellsOptions) -> tuple[ModelSpec, ...]:
    """The one network: a tile with its halo to `nucleus` and `distance` maps in [0, 1]."""
    return (
        ModelSpec(
            name="cells",
            inputs=(TensorSpec(name="tiles", dtype="uint8", shape=(SIDE, SIDE, 3)),),
            outputs=tuple(
                TensorSpec(name=name, dtype="float32", shape=(SIDE, SIDE)) for name in ("nucleus", "distance")
            ),
            build=_build,
            weights=Weights(
                source="builtin",
                licence="Apache-2.0",
                citation="Ruifrok AC, Johnston DA. Anal Quant Cytol Histol 2001;23:291-299 (stain vectors)",
            ),
            transform={"px": SIDE, "mpp": TILE.mpp, "stain": "ruifrok-johnston-2001"},
            max_batch=16,
        ),
    )


def _build(_weights: Path | None) -> torch.nn.Module:
    from kras_profiler_cells.network import NucleusFilters

    return NucleusFilters().eval()


class _Cells:
    def __init__(self, infer: Infer, decode: Callable[[Mapping[str, npt.NDArray[Any]], Tile], TileCells]) -> None:
        self.infer = infer
        self.decode = decode

    def predict(self, tiles: npt.NDArray[np.uint8]) -> Mapping[str, npt.NDArray[Any]]:
        return self.infer({"tiles": tiles})


def create(options: CellsOptions, infer: Mapping[str, Infer]) -> Profiler:
    """The live profiler; `infer` must hold the model `cells`."""
    from kras_profiler_cells.decode import Decode

    return _Cells(infer["cells"], Decode(options.min_area_um2, options.max_area_um2))


@hookimpl
def kras_profilers() -> Iterable[ProfilerPlugin]:
    """Provide the profiler `cells`."""
    yield ProfilerPlugin(
        name="cells",
        summary="Nuclei by stain and blob filters (untrained), typed as tumor, lymphocyte, fibroblast or other",
        options=CellsOptions,
        tile=lambda _options: TILE,
        models=models,
        provides=lambda _options: CLASSES | frozenset(CELL_COLUMNS),
        create=create,
    )
