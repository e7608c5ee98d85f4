"""PyTorch on any device it supports, from the module that `ModelSpec.build` makes, without an ONNX file."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from kras_backend_local.arithmetic import network, prepare
from kras_backend_local.batches import batch_of
from kras_backend_local.choice import Target, choose_precision
from kras_backend_local.cuda_slots import CudaSlot
from kras_backend_local.plain_slots import PlainSlot
from kras_backend_local.replicas import dealt, replicas
from kras_backend_local.slots import Slot, Slots, failed
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import BackendError
from kras_plugins.models.export import build_module, is_ready_made

if TYPE_CHECKING:
    from kras_backend_local import LocalOptions

SLOTS = 3
"""Slots per device: one copies in, one computes, one copies out. Each has the activations of one batch."""

BATCHES = {"cpu": 2}
"""Items per call by kind of device, 64 elsewhere: fixed for all networks, since the engine's name states it before any
is known, and small enough for a ViT-g in three slots of 24 GB. To be measured: docs/decisions/0017."""


class Torch:
    """Backend on PyTorch: one kind of device, fixed batch, `SLOTS` batches in progress per device."""

    def __init__(self, options: LocalOptions, target: Target) -> None:
        if options.threads:
            raise BackendError("engine torch takes its number of threads from OMP_NUM_THREADS", "leave threads=0")
        self.precision: str = choose_precision(options.precision, target)
        self._options = options
        self._target = target
        self._usual = BATCHES.get(target.kind, 64)
        compiled = " compiled" if options.compile else ""
        self.engine = f"torch {torch.__version__} {target.name} batch {options.batch or self._usual}{compiled}"

    def load(self, spec: ModelSpec) -> Slots:
        """Build the network on every device and make its slots; BackendError if that fails, also for lack of memory."""
        if is_ready_made(spec):
            raise BackendError(
                f"model {spec.name!r} is an ONNX file ({spec.weights.source}), which PyTorch does not run",
                "engine=onnxruntime runs it on an NVIDIA GPU (with onnxruntime-gpu; beside other models under "
                "engine=auto precision=f32), device=cpu with engine=auto on the CPU"
                if self._target.kind == "cuda"
                else "set -o backend.local.engine=openvino",
            )
        return load(
            build_module(spec),
            spec,
            devices=self._target.devices,
            precision=self.precision,
            batch=batch_of(spec, self._options.batch, self._usual),
            compiled=self._options.compile,
            graphs=self._options.graphs,
        )

    def report(self) -> Mapping[str, Any]:
        """The devices, and why a GPU of this machine was not used, if there is one."""
        unused = {"unused_gpu": self._target.unused} if self._target.unused else {}
        return {"devices": list(self._target.devices), **unused}

    def close(self) -> None:
        """Nothing to release beyond what Python frees."""


def load(
    module: torch.nn.Module,
    spec: ModelSpec,
    *,
    devices: Sequence[str],
    precision: str,
    batch: int,
    compiled: bool = False,
    graphs: bool = True,
    slots: int = SLOTS,
) -> Slots:
    """A module with the tensors of `spec` as an `Infer` on devices of one kind; the module is changed in place.

    `compiled`: by torch.compile. `graphs`: as CUDA graphs, on NVIDIA GPUs. Raises BackendError where a device fails.
    """
    on = [torch.device(device) for device in devices]
    hint = "try -o backend.local.graphs=false" if graphs and on[0].type == "cuda" else "try compile=false"
    try:
        made = []
        for device, one in zip(on, replicas(prepare(module.eval(), precision), on), strict=True):
            run = network(torch.compile(one, dynamic=False) if compiled else one, spec, precision, device.type)
            made.append(_slots(run, spec, batch, device, graphs, slots))
    except RuntimeError as e:
        raise failed(spec, " and ".join(devices), batch, e, hint) from e
    return Slots(dealt(made), spec, batch)


def _slots(run: Any, spec: ModelSpec, batch: int, device: torch.device, graphs: bool, slots: int) -> list[Slot]:
    if device.type == "cuda":
        return [CudaSlot(run, spec, batch, device, graph=graphs) for _ in range(slots)]
    turn = threading.Lock()
    made: list[Slot] = [PlainSlot(run, spec, batch, device, turn) for _ in range(slots)]
    # One batch of zeros: what cannot run fails here, as it does on CUDA, and compilation happens now.
    made[0].copy_in()
    made[0].run()
    return made
