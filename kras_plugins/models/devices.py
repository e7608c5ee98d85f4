"""What the name of a device means on this machine; a named device is never replaced by another."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kras_plugins.errors import BackendError
from kras_plugins.models.accelerators import Accelerators, Card, likely, look


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device, or all cards where `cuda` was asked for.

    `names`: PyTorch's names; `name`: the model, that of the first card where there are several. `cards`: for NVIDIA
    GPUs. `unused`: why an NVIDIA GPU of this machine is left idle, "" where none is.
    """

    names: tuple[str, ...] = ("cpu",)
    name: str = "cpu"
    cards: tuple[Card, ...] = ()
    unused: str = ""

    @property
    def kind(self) -> str:
        """`cpu`, `cuda`, `mps` or `xpu`."""
        return kind_of(self.names[0])


def known_device(device: str) -> str:
    """Return `device` if it can name a device; else raise ValueError, as validators of options do."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?|mps|xpu", device):
        raise ValueError("is none of auto, cpu, cuda, cuda:N, mps, xpu")
    return device


def kind_of(name: str) -> str:
    """The kind of device that PyTorch gives this name: `cuda` of `cuda:1`."""
    return name.partition(":")[0]


def seen(device: str) -> Accelerators:
    """What PyTorch sees; for `auto`, PyTorch is not even imported where there can be no accelerator."""
    return look() if device != "auto" or likely() else Accelerators()


def find_device(device: str, see: Callable[[str], Accelerators] = seen, *, nvidia: bool = False) -> Device:
    """The device that is meant by `auto` (one accelerator that PyTorch sees, else the CPU) or by a name.

    `see` is called only where the answer matters; `nvidia`: nothing else will do, not even for `auto`. Raises
    BackendError where the named device is not present.
    """
    if device == "cpu":
        return Device()
    found = see(device)
    if kind_of(device) == "cuda" or nvidia or (device == "auto" and found.cards):
        cards = _cards(device, found)
        return Device(names=tuple(card.device for card in cards), name=cards[0].name, cards=cards)
    if device == "xpu" or (device == "auto" and found.xpu):
        if not found.xpu:
            raise BackendError(f"{_torch(found)} sees no Intel GPU", "install PyTorch's XPU build, or take device=cpu")
        return Device(names=("xpu",), name=found.xpu[0])
    if device == "mps" or found.mps:
        if not found.mps:
            raise BackendError(f"{_torch(found)} sees no Apple GPU", "take device=auto")
        return Device(names=("mps",), name="mps")
    return Device(unused=f"{found.trouble} ({found.remedy})" if found.trouble else "")


def _cards(device: str, found: Accelerators) -> tuple[Card, ...]:
    """The cards that are meant: all for `cuda`, one for `cuda:N`, the first for `auto`."""
    if not found.cards:
        why = found.trouble or f"{_torch(found)} sees none"
        raise BackendError(f"no NVIDIA GPU can be used: {why}", found.remedy or "take device=auto, or device=cpu")
    if not device.startswith("cuda:"):
        return found.cards if device == "cuda" else found.cards[:1]
    cards = tuple(card for card in found.cards if card.device == device)
    if not cards:
        here = ", ".join(f"{card.device} ({card.name})" for card in found.cards)
        raise BackendError(f"there is no {device}; there is {here}", "CUDA_VISIBLE_DEVICES hides and renumbers GPUs")
    return cards


def _torch(found: Accelerators) -> str:
    return f"PyTorch {found.torch}".strip()
