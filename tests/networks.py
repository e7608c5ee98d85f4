"""Exported networks: a command that finds them in its store spends no ten seconds on making them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

import kras_profiler_cells
from kras_extractor_vit import VitOptions, network
from kras_plugins.models.export import onnx_file
from kras_plugins.store import Store


def lay_networks(store: Path, only: str = "") -> None:
    """Lay `vit-mini` and the network of `cells` into a store, exported once whoever of the workers needs them first.

    `only`: the one of these names alone.

    Workers begin with different ones: where both need them, neither waits until the other has exported all.
    """
    specs = [network.spec(VitOptions(model="vit-mini"))]
    specs += kras_profiler_cells.models(kras_profiler_cells.CellsOptions())
    specs = [spec for spec in specs if only in ("", spec.name)]
    for spec in specs if os.environ.get("PYTEST_XDIST_WORKER") == "gw0" else reversed(specs):
        with FileLock(Store().root / f"exporting-{spec.name}.lock"):
            file = onnx_file(spec)
        shutil.copytree(file.parent, store / file.parent.relative_to(Store().root), dirs_exist_ok=True)
