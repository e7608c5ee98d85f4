"""A tiny pre-training: tiles of 48 px, a transformer of two layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kras_plugins.data import TileSpec
from kras_plugins.pretraining.tiles import Readers, TileBench
from kras_plugins.store import Store

TINY: dict[str, Any] = {
    "model": "vit_tiny_patch16_224",
    "arguments": {"depth": 2, "embed_dim": 24, "num_heads": 2, "patch_size": 8},
    "px": 32,
    "read_px": 40,
    "global_px": 32,
    "local_px": 16,
    "local_views": 2,
    "steps": 6,
    "batch": 8,
    "lr": 1e-3,
    "warmup": 0.3,
    "head": (32, 16, 64),
    "precision": "f32",
}


def looking(store: Path, readers: Readers = ()) -> TileBench:
    """What the tiles of TINY are looked for with."""
    return TileBench(readers=readers, spec=TileSpec(px=TINY["px"], mpp=0.5), store=Store(store))


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve small images of two textures, stained like H&E."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for i in range(12):
        coarse = rng.random((96 // (1 + 7 * (i % 2)), 96 // (1 + 7 * (i % 2)), 1)).repeat(1 + 7 * (i % 2), 0)
        grey = coarse.repeat(1 + 7 * (i % 2), 1)[:96, :96]
        Image.fromarray((255 - grey * [90, 150, 70]).astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder
