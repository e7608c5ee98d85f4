"""Which engine computes on which device: what `auto` means here, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kras_plugins.errors import BackendError
from kras_plugins.models.accelerators import Accelerators, Card
from kras_plugins.models.devices import find_device, kind_of, seen

Engine = Literal["openvino", "torch", "onnxruntime"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """An engine and what it computes on.

    `devices`: PyTorch's names, several only for GPUs of one kind; `name`: the device in the engine's name.
    `capability`: of NVIDIA GPUs. `unused`: why an NVIDIA GPU of this machine is left idle, "" where none is.
    """

    engine: Engine
    devices: tuple[str, ...] = ("cpu",)
    name: str = "cpu"
    capability: tuple[int, int] | None = None
    unused: str = ""

    @property
    def kind(self) -> str:
        """`cpu`, `cuda`, `mps` or `xpu`."""
        return kind_of(self.devices[0])


def choose(engine: str, device: str, see: Callable[[str], Accelerators] = seen) -> Target:
    """Resolve the options `engine` and `device` on this machine; `see` is called only where the answer matters.

    A named device is never replaced by another: BackendError if it is not available, or the engine does not use it.
    """
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise BackendError(f"engine openvino does not run on {device}", "take engine=torch, or device=cpu")
    if engine == "onnxruntime" and device not in ("auto", "cuda") and not device.startswith("cuda:"):
        raise BackendError(
            f"engine onnxruntime is for NVIDIA GPUs, not {device}", "take engine=openvino on a CPU, engine=torch else"
        )
    if engine == "openvino" or device == "cpu":
        return Target(engine="torch" if engine == "torch" else "openvino")
    found = find_device(device, see, nvidia=engine == "onnxruntime")
    if device == "cuda":
        _alike(found.cards)
    asked: Engine = "onnxruntime" if engine == "onnxruntime" else "torch"
    return Target(
        engine="openvino" if engine == "auto" and found.kind == "cpu" else asked,
        devices=found.names,
        name=found.name,
        capability=found.cards[0].capability if found.cards else None,
        unused=found.unused,
    )


def _alike(cards: tuple[Card, ...]) -> None:
    """Refuse cards of several kinds, by name: they would round differently."""
    if len({(card.name, card.capability) for card in cards}) > 1:
        listed = ", ".join(f"{c.device} {c.name} ({c.capability[0]}.{c.capability[1]})" for c in cards)
        raise BackendError(
            f"device=cuda takes GPUs of one kind; here are {listed}",
            "name one, -o backend.local.device=cuda:0, or show only those of one kind with CUDA_VISIBLE_DEVICES",
        )


def choose_precision(wanted: str, target: Target) -> str:
    """The arithmetic for PyTorch: `auto` is bf16 on NVIDIA GPUs that support it, f16 on older ones, else f32.

    Raises BackendError for bf16 on an NVIDIA GPU that only emulates it (before Ampere).
    """
    own_bf16 = target.capability is not None and target.capability >= (8, 0)
    if target.kind == "cuda" and wanted == "bf16" and not own_bf16:
        raise BackendError(f"{target.name} has no bf16 of its own", "set -o backend.local.precision=f16 (or f32)")
    if wanted != "auto":
        return wanted
    if target.kind != "cuda":
        return "f32"
    return "bf16" if own_bf16 else "f16"
