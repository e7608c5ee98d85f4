"""One model on several cards of one kind: a copy of the network on each, with their slots taking turns."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch

from kras_backend_local.slots import Slot


def replicas(module: torch.nn.Module, devices: Sequence[torch.device]) -> list[torch.nn.Module]:
    """The module on every device; the last one is the module itself."""
    return [(module if d is devices[-1] else copy.deepcopy(module)).to(d) for d in devices]


def dealt(slots: Iterable[Sequence[Slot]]) -> list[Slot]:
    """The slots of several devices, as many of each, in turn: neighbors are on different devices."""
    return [slot for turn in zip(*slots, strict=True) for slot in turn]
