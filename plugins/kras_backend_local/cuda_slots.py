"""A slot on an NVIDIA GPU: pinned buffers, a stream, an event and a CUDA graph of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

from kras_plugins.contracts.model import ModelSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_backend_local.arithmetic import Network
    from kras_plugins.contracts.backend import Arrays

_WARM_UPS = 3
"""Runs before the capture, in which libraries choose kernels and allocate workspaces (as PyTorch recommends)."""

_capturing = threading.Lock()
"""PyTorch captures one graph at a time in a process."""


class CudaSlot:
    """Buffers of one batch in pinned memory and on the card, and the work between them in one stream.

    While one slot computes, others copy in and out. With `graph` the network is captured at once and replayed by one
    launch per batch; the arithmetic is then that of the capture. Raises torch.OutOfMemoryError if the card does not
    have enough memory.
    """

    def __init__(self, network: Network, spec: ModelSpec, batch: int, device: torch.device, *, graph: bool) -> None:
        self.device = f"{torch.cuda.get_device_name(device)} ({device})"
        self._network = network
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # Blocking: the waiting thread leaves its core to those that read tiles.
            self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._host_in = [_pinned(batch, t.shape, t.dtype) for t in spec.inputs]
            self._host_out = [_pinned(batch, t.shape, t.dtype) for t in spec.outputs]
            with torch.cuda.stream(self._stream):
                self._card_in = [tensor.to(device, non_blocking=True) for tensor in self._host_in]
                self._card_out = self._network(*self._card_in)
                if graph:
                    for _ in range(_WARM_UPS - 1):
                        self._network(*self._card_in)
            self._stream.synchronize()
            if graph:
                self._capture()
        self.inputs: dict[str, npt.NDArray[Any]] = {
            t.name: buffer.numpy() for t, buffer in zip(spec.inputs, self._host_in, strict=True)
        }
        self.outputs: Arrays = {t.name: buffer.numpy() for t, buffer in zip(spec.outputs, self._host_out, strict=True)}

    def _capture(self) -> None:
        made = torch.cuda.CUDAGraph()
        # Only this thread's calls belong to the graph: others may use the card meanwhile.
        with _capturing, torch.cuda.graph(made, stream=self._stream, capture_error_mode="thread_local"):
            self._card_out = self._network(*self._card_in)
        self._graph = made

    def copy_in(self) -> None:
        """Queue the copies to the card."""
        with torch.cuda.stream(self._stream):
            for card, host in zip(self._card_in, self._host_in, strict=True):
                card.copy_(host, non_blocking=True)

    def run(self) -> None:
        """Queue the network."""
        with torch.cuda.stream(self._stream):
            if self._graph is not None:
                self._graph.replay()
            else:
                self._card_out = self._network(*self._card_in)

    def copy_out(self) -> None:
        """Queue the copies from the card."""
        with torch.cuda.stream(self._stream), torch.inference_mode():
            for host, card in zip(self._host_out, self._card_out, strict=True):
                host.copy_(card, non_blocking=True)

    def record(self) -> None:
        """Mark the end of what was queued."""
        self._done.record(self._stream)

    def wait(self) -> None:
        """Block until the mark is reached, without the interpreter's lock."""
        self._done.synchronize()


def _pinned(batch: int, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    return torch.zeros((batch, *shape), dtype=getattr(torch, dtype), pin_memory=True)
