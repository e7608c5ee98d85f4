"""Batches through slots: each slot owns the buffers of one batch, and one caller at a time owns the slot."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import torch

from kras_backend_local.batches import count
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import BackendError, described

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.contracts.backend import Arrays


class Slot(Protocol):
    """Buffers of one batch on one device, and the steps in which the batch passes through.

    Steps return as soon as their work is queued, in the order of `copy_in`, `run`, `copy_out`, `record`; `wait` blocks
    until what was queued before `record` is done, whatever the other slots do. Called by one thread at a time.
    """

    device: str
    """The device, as errors name it."""

    @property
    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """The slot's own input buffers, [batch, …], to be written before `copy_in`."""
        ...

    @property
    def outputs(self) -> Arrays:
        """The slot's own results, [batch, …] in the types of the spec, valid from `wait` until the next `copy_out`."""
        ...

    def copy_in(self) -> None:
        """Copy the inputs to the device."""
        ...

    def run(self) -> None:
        """Compute."""
        ...

    def copy_out(self) -> None:
        """Copy the results back."""
        ...

    def record(self) -> None:
        """Mark the end of what was queued."""
        ...

    def wait(self) -> None:
        """Block until the mark is reached."""
        ...


class Slots:
    """A loaded model (`Infer`): a call takes a free slot of any device and gives it back when it has its results.

    Slots are taken in turn, the one that has been free longest first. Which one computes changes neither order nor
    bytes: all have the same weights, precision and batch.
    """

    def __init__(self, slots: Sequence[Slot], spec: ModelSpec, batch: int) -> None:
        self.batch = batch
        self.in_flight = len(slots)
        self._spec = spec
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch of at most `batch` items, padded with zeros; waits if no slot is free.

        Raises BackendError for arrays that are not the model's inputs and if the device fails.
        """
        n = count(inputs, self._spec, self.batch)
        slot = self._free.get()
        try:
            for tensor in self._spec.inputs:
                buffer = slot.inputs[tensor.name]
                buffer[:n] = inputs[tensor.name]
                buffer[n:] = 0
            _pass(slot)
            return {t.name: slot.outputs[t.name][:n].copy() for t in self._spec.outputs}
        except RuntimeError as e:  # torch's only kind, out of memory included
            raise failed(self._spec, slot.device, self.batch, e) from e
        finally:
            self._free.put(slot)


def _pass(slot: Slot) -> None:
    """All steps. If one fails, wait for what was queued before it, which may still write into the buffers."""
    try:
        slot.copy_in()
        slot.run()
        slot.copy_out()
        slot.record()
        slot.wait()
    except BaseException:
        with suppress(RuntimeError):  # the device is lost; the first error says why
            slot.record()
            slot.wait()
        raise


def failed(
    spec: ModelSpec, device: str, batch: int, error: RuntimeError, hint: str = "try -o backend.local.precision=f32"
) -> BackendError:
    """The BackendError for what PyTorch raised while loading or running a model; `hint` unless memory is short."""
    # A capture that runs out of memory fails again with another error when it ends.
    if isinstance(error, torch.OutOfMemoryError) or isinstance(error.__context__, torch.OutOfMemoryError):
        return BackendError(
            f"model {spec.name!r}: {device} does not have enough memory for batches of {batch}",
            "set a smaller one with -o backend.local.batch=N, or end other programs that use the device",
        )
    return BackendError(f"model {spec.name!r}: PyTorch failed on {device}: {described(error)}", hint)
