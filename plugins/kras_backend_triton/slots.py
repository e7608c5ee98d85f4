"""Shared memory for one request at a time: tiles go in, results come out, and no byte passes through a socket."""

from __future__ import annotations

import os
import re
import uuid
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

from kras_plugins import ModelSpec, TensorSpec
from kras_plugins.files.leftovers import hold, remove_unheld

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_backend_triton.endpoint import Endpoint


_NAME = re.compile(r"kras-\d+-[0-9a-f]{12}")


class Slot:
    """One region: inputs of at most `batch` tiles, then outputs. OSError when the host has no memory left for it."""

    def __init__(self, spec: ModelSpec, batch: int) -> None:
        self._at: dict[str, int] = {}
        self._specs = spec
        size = 0
        for tensor in (*spec.inputs, *spec.outputs):
            self._at[tensor.name] = size
            size += -(-batch * _bytes(tensor) // 64) * 64
        self.size = size
        self.name, self._memory = _region(size)
        try:
            # Without this, a full /dev/shm causes a bus error at the first write. Only Linux has it.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._memory._fd, 0, size)  # type: ignore[attr-defined]
        except OSError:
            self.drop()
            raise
        self._known: dict[str, int] = {}

    def register(self, endpoint: Endpoint) -> None:
        """Register the region with a server, once after each of its starts; InferenceServerException if it refuses."""
        if self._known.get(endpoint.url) != endpoint.generation:
            generation = endpoint.generation
            if endpoint.url in self._known:
                self._forget(endpoint, endpoint.rpc_s)
            endpoint.client.register_system_shared_memory(
                self.name, f"/{self.name}", self.size, headers=endpoint.headers, client_timeout=endpoint.rpc_s
            )
            self._known[endpoint.url] = generation

    def _forget(self, endpoint: Endpoint, seconds: float) -> None:
        endpoint.client.unregister_system_shared_memory(self.name, headers=endpoint.headers, client_timeout=seconds)
        self._known.pop(endpoint.url, None)

    def request(self, arrays: Any, n: int) -> tuple[list[InferInput], list[InferRequestedOutput]]:
        """Copy the tiles in; returns a request's descriptions of them and of where the results go."""
        inputs, outputs = [], []
        for tensor in self._specs.inputs:
            self._view(tensor, n)[:] = arrays[tensor.name]
            inputs.append(InferInput(tensor.name, [n, *tensor.shape], np_to_triton_dtype(np.dtype(tensor.dtype))))
            inputs[-1].set_shared_memory(self.name, n * _bytes(tensor), self._at[tensor.name])
        for tensor in self._specs.outputs:
            outputs.append(InferRequestedOutput(tensor.name))
            outputs[-1].set_shared_memory(self.name, n * _bytes(tensor), self._at[tensor.name])
        return inputs, outputs

    def results(self, n: int) -> dict[str, npt.NDArray[Any]]:
        """Copies of the results of a request that succeeded."""
        return {t.name: self._view(t, n).copy() for t in self._specs.outputs}

    def _view(self, tensor: TensorSpec, n: int) -> npt.NDArray[Any]:
        return np.ndarray((n, *tensor.shape), tensor.dtype, self._memory.buf, self._at[tensor.name])

    def release(self, endpoints: list[Endpoint]) -> list[Endpoint]:
        """Unregister it from the servers that know it, then free it; returns those that answered."""
        from tritonclient.utils import InferenceServerException

        answered = list(endpoints)
        for endpoint in endpoints:
            if endpoint.url in self._known:
                try:
                    self._forget(endpoint, 1.0)
                except InferenceServerException:
                    answered.remove(endpoint)  # a stopped server has no region, and a hanging one is not waited for
        self.drop()
        return answered

    def drop(self) -> None:
        """Free the region on this side. A server that still writes into it has its own mapping, so this is harmless."""
        self._memory.close()
        with suppress(FileNotFoundError):  # the system has already cleaned /dev/shm
            self._memory.unlink()


def clear_dead() -> None:
    """Remove regions of killed processes (Linux, where they are files)."""
    for file in Path("/dev/shm").glob("kras-*"):
        if _NAME.fullmatch(file.name):
            remove_unheld(file)


def _region(size: int) -> tuple[str, SharedMemory]:
    """A new region and its name, locked while this process lives."""
    while True:
        name = f"kras-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        memory = SharedMemory(name, create=True, size=size)
        if not hasattr(memory, "_fd") or hold(memory._fd):
            return name, memory
        memory.close()  # removed by another process, before it was locked


def _bytes(tensor: TensorSpec) -> int:
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
