"""A slot for devices without CUDA streams (CPU, Apple's and Intel's GPUs): each step is finished when it returns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

from kras_plugins.contracts.model import ModelSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_backend_local.arithmetic import Network
    from kras_plugins.contracts.backend import Arrays


class PlainSlot:
    """Buffers in ordinary memory. `turn`: the lock of the device, on which one batch computes at a time."""

    def __init__(self, network: Network, spec: ModelSpec, batch: int, device: torch.device, turn: threading.Lock):
        self.device = str(device)
        self._network = network
        self._names = [t.name for t in spec.outputs]
        self._host = {t.name: torch.zeros((batch, *t.shape), dtype=getattr(torch, t.dtype)) for t in spec.inputs}
        self.inputs: dict[str, npt.NDArray[Any]] = {name: tensor.numpy() for name, tensor in self._host.items()}
        self.outputs: Arrays = {}
        self._turn = turn
        self._on = device
        self._given: list[torch.Tensor] = []
        self._made: tuple[torch.Tensor, ...] = ()

    def copy_in(self) -> None:
        """Copy the inputs to the device."""
        with self._turn:
            self._given = [tensor.to(self._on) for tensor in self._host.values()]

    def run(self) -> None:
        """Compute."""
        with self._turn:
            self._made = self._network(*self._given)

    def copy_out(self) -> None:
        """Copy the results back."""
        with self._turn:
            self.outputs = {k: tensor.cpu().numpy() for k, tensor in zip(self._names, self._made, strict=True)}

    def record(self) -> None:
        """Nothing is under way."""

    def wait(self) -> None:
        """Nothing is under way."""
