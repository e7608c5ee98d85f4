"""Which engine computes on which device: what `auto` means here, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kras_plugins.errors import BackendError
from kras_plugins.models.accelerators import Accelerators, Card, likely, look

Engine = Literal["openvino", "torch", "onnxruntime"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """An engine and what it computes on.

    `devices`: PyTorch's names, several only for GPUs of one kind; `name`: the device in the engine's name.
    `capability`: of NVIDIA GPUs. `unused`: why an NVIDIA GPU that is here is left to idle, "" where none is.
    """

    engine: Engine
    devices: tuple[str, ...] = ("cpu",)
    name: str = "cpu"
    capability: tuple[int, int] | None = None
    unused: str = ""

    @property
    def kind(self) -> str:
        """`cpu`, `cuda`, `mps` or `xpu`."""
        return self.devices[0].partition(":")[0]


def seen(device: str) -> Accelerators:
    """What PyTorch sees; for `auto` it is not even imported where there can be no accelerator."""
    return look() if device != "auto" or likely() else Accelerators()


def choose(engine: str, device: str, see: Callable[[str], Accelerators] = seen) -> Target:
    """Resolve the options `engine` and `device` on this machine; `see` is asked only where the answer matters.

    A device that is named is never replaced by another: BackendError where it is not there, or is not the engine's.
    """
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise BackendError(f"engine openvino does not run on {device}", "take engine=torch, or device=cpu")
    if engine == "onnxruntime" and device not in ("auto", "cuda") and not device.startswith("cuda:"):
        raise BackendError(
            f"engine onnxruntime is for NVIDIA GPUs, not {device}", "take engine=openvino on a CPU, engine=torch else"
        )
    if engine == "openvino" or device == "cpu":
        return Target(engine="torch" if engine == "torch" else "openvino")
    found = see(device)
    if device.startswith("cuda") or engine == "onnxruntime" or (device == "auto" and found.cards):
        return _cuda("onnxruntime" if engine == "onnxruntime" else "torch", device, found)
    if device == "xpu" or (device == "auto" and found.xpu):
        if not found.xpu:
            raise BackendError(f"{_torch(found)} sees no Intel GPU", "install PyTorch's XPU build, or take device=cpu")
        return Target(engine="torch", devices=("xpu",), name=found.xpu[0])
    if device == "mps" or found.mps:
        if not found.mps:
            raise BackendError(f"{_torch(found)} sees no Apple GPU", "take device=auto")
        return Target(engine="torch", devices=("mps",), name="mps")
    unused = f"{found.trouble} ({found.remedy})" if found.trouble else ""
    return Target(engine="torch" if engine == "torch" else "openvino", unused=unused)


def _cuda(engine: Engine, device: str, found: Accelerators) -> Target:
    """The cards that `device` means: all for `cuda`, one for `cuda:N`, the first for `auto`."""
    if not found.cards:
        why = found.trouble or f"{_torch(found)} sees none"
        raise BackendError(f"no NVIDIA GPU can be used: {why}", found.remedy or "take device=auto, or device=cpu")
    cards = found.cards if device == "cuda" else found.cards[:1]
    if device.startswith("cuda:"):
        cards = tuple(card for card in found.cards if card.device == device)
        if not cards:
            here = ", ".join(f"{card.device} ({card.name})" for card in found.cards)
            raise BackendError(
                f"there is no {device}; there is {here}", "CUDA_VISIBLE_DEVICES hides and renumbers GPUs"
            )
    _alike(cards)
    return Target(
        engine=engine, devices=tuple(c.device for c in cards), name=cards[0].name, capability=cards[0].capability
    )


def _alike(cards: tuple[Card, ...]) -> None:
    """Refuse cards of several kinds, by name: they would round differently."""
    if len({(card.name, card.capability) for card in cards}) > 1:
        listed = ", ".join(f"{c.device} {c.name} ({c.capability[0]}.{c.capability[1]})" for c in cards)
        raise BackendError(
            f"device=cuda takes GPUs of one kind, here are {listed}",
            "name one, -o backend.local.device=cuda:0, or show those of one kind with CUDA_VISIBLE_DEVICES",
        )


def _torch(found: Accelerators) -> str:
    return f"PyTorch {found.torch}".strip()


def choose_precision(wanted: str, target: Target) -> str:
    """The arithmetic for PyTorch: `auto` is bf16 where an NVIDIA GPU computes in it, f16 on older ones, else f32.

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
