"""Weights from files: the network's own names, shapes and kinds of numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kras_plugins.errors import BackendError
from kras_plugins.models.network import load_strictly, read_tensors


def load(folder: Path, **changed: torch.Tensor) -> torch.nn.Module:
    """A linear layer and the count of a normalization, loaded from a file of the same with some tensors changed."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    own = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    file = folder / "own.safetensors"
    save_file({**own, **changed}, file)
    load_strictly(network, read_tensors(file), file=file, what="a small network", hint="take its own weights")
    return network


def test_floats_of_half_the_width_are_weights(tmp_path: Path) -> None:
    network = load(tmp_path, **{"0.bias": torch.tensor([0.5, 1.5, 2.5], dtype=torch.float16)})
    assert network.state_dict()["0.bias"].tolist() == [0.5, 1.5, 2.5]
    assert network.state_dict()["1.num_batches_tracked"] == 1


def test_integers_are_not_the_weights_of_floats(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="own.safetensors: not the weights of .*: 0.bias contains int32"):
        load(tmp_path, **{"0.bias": torch.tensor([1, 2, 3], dtype=torch.int32)})
