"""Exported networks: a command that finds them in its store spends no ten seconds on making them."""

from __future__ import annotations

import shutil
from pathlib import Path

import kras_profiler_cells
from kras_extractor_vit import VitOptions, network
from kras_plugins.models.export import onnx_file
from kras_plugins.store import Store


def lay_networks(store: Path) -> None:
    """Lay `vit-mini` and the network of `cells`, exported once a worker, into a store."""
    specs = network.spec(VitOptions(model="vit-mini")), *kras_profiler_cells.models(kras_profiler_cells.CellsOptions())
    for spec in specs:
        _copy(onnx_file(spec).parent, Store(), store)


def copy_networks(known: Path, store: Path) -> None:
    """Lay the networks that one store holds into another."""
    for entry in Store(known).entries():
        if entry.kind == "onnx":
            _copy(entry.path, Store(known), store)


def _copy(entry: Path, known: Store, store: Path) -> None:
    shutil.copytree(entry, store / entry.relative_to(known.root), dirs_exist_ok=True)
