"""What an encoder's features of labeled tiles are worth, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.host.isolation import ask
from kras_plugins.host.parts import Part, open_parts
from kras_plugins.probing.baseline import colors_and_textures
from kras_plugins.probing.labelled import fit, read_pixels, read_tiles
from kras_plugins.probing.robustness import Embed, steadiness
from kras_plugins.probing.scores import probe

if TYPE_CHECKING:
    from kras_plugins.data import Float32, UInt8
    from kras_plugins.host.config import Config
    from kras_plugins.host.manager import Registry

BASELINE = "baseline"
"""Stands for colors and textures instead of an encoder."""
_FILES = (".safetensors", ".pth", ".pt", ".bin")


def options_of(encoder: str, extractor: str) -> list[str]:
    """`kind.name.key=value` options that make an extractor run a preset, a timm model or a weights file."""
    if encoder == BASELINE:
        return []
    key = "weights" if encoder.endswith(_FILES) else "model"
    return [f"extractor.{extractor}.{key}={encoder}"]


@contextmanager
def opened_encoder(
    registry: Registry, config: Config, *, extractor: str | None, backend: str, mpp: float | None
) -> Iterator[Embed]:
    """A function from tiles of any size, a list of uint8[h w 3], to float32[tile feature]; `BASELINE` for None.

    `mpp`: µm per pixel of the tiles, which are then shown at true scale, else stretched to fit.
    """
    if extractor is None:
        yield lambda tiles: np.stack([colors_and_textures(t) for t in tiles])
        return
    with open_parts(registry, config, extractors=[extractor], profiler=None, backend=backend) as parts:
        (part,) = parts.extractors.values()
        yield lambda tiles: _embedded(part, tiles, mpp / part.tile.mpp if mpp else None)


def measure(embed: Embed, tiles: Path, *, seeds: int, folds: int, robustness: int) -> dict[str, Any]:
    """kNN and logistic probe of the features, cross-validated by group, and how steady they are, as JSON values.

    `tiles`: a folder with a subfolder per class, or a CSV: file, label, group; `robustness`: how many of them, evenly
    spread, are modified to measure how much their features change; 0 leaves that out.
    """
    found = read_tiles(tiles)
    pixels = [read_pixels(f) for f in found.files]
    features = embed(pixels)
    scores = probe(features, found.labels, found.groups, seeds=seeds, folds=folds)
    some = np.unique(np.linspace(0, len(pixels) - 1, max(1, robustness)).astype(int)).tolist()
    steady = steadiness(embed, [pixels[i] for i in some]) if robustness else {}
    return {
        "dim": int(features.shape[1]),
        "tiles": dict(Counter(found.labels)),
        "groups": len(set(found.groups)),
        "grouped": found.grouped,
        "chance": 1 / len(set(found.labels)),
        "balanced_accuracy": {k: {n: v for n, v in asdict(s).items() if n != "right"} for k, s in scores.items()},
        "robustness": {k: asdict(v) for k, v in steady.items()},
    }


def _embedded(part: Part, tiles: Sequence[UInt8], scale: float | None) -> Float32:
    shown = [fit(t, part.tile.px, scale) for t in tiles]
    batches = [np.stack(shown[i : i + part.batch]) for i in range(0, len(shown), part.batch)]
    return np.concatenate([ask(part.provided.id, part.made, batch) for batch in batches])
