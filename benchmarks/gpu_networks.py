"""The networks that `gpu.py` measures, by PyTorch and timm alone, in the requested arithmetic.

Arithmetic `bf16` and `f16` is that of engine `torch`: weights of linear and convolution layers cast once, the rest
under autocast. `bf16 throughout` casts all weights, for comparison.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from gpu import Bench

CELLS = Path(__file__).resolve().parents[1] / "plugins/kras_profiler_cells"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "bf16 throughout": torch.bfloat16}

Run = Callable[[Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Subject:
    """A network to measure: its tiles are uint8[n side side 3]."""

    name: str
    side: int
    batches: tuple[int, ...]


SUBJECTS = (
    Subject("vit_small_patch16_224", 224, (64, 256, 512)),
    Subject("vit_large_patch16_224", 224, (32, 128, 256)),
    Subject("vit_giant_patch14_224", 224, (16, 64, 128)),
    Subject("cells", 576, (8, 32, 64)),
)
SMALL = (Subject("vit_tiny_patch16_224", 32, (2,)), Subject("cells", 64, (2,)))


class Encoder(nn.Module):
    """uint8[n h w 3] -> float32[n d], normalized in float32."""

    def __init__(self, name: str, side: int, device: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        with torch.device(device):  # a billion random weights take long on a CPU
            self.vit = timm.create_model(name, num_classes=0, img_size=side)
            self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255)
            self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255)
        self.dtype = torch.float32

    def forward(self, tiles: Tensor) -> Tensor:
        x = (tiles.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.vit(x.to(self.dtype)).float()


def cells(device: str) -> nn.Module:
    """The trained network of profiler `cells`, from its two files alone, since the plug-in itself imports pydantic."""
    from safetensors.torch import load_file

    plugin = ModuleType("kras_profiler_cells")
    vars(plugin).update(constants(CELLS / "__init__.py"))
    with mock.patch.dict("sys.modules", {"kras_profiler_cells": plugin}):
        sys.modules["kras_profiler_cells.unlike"] = _executed(CELLS / "unlike.py")
        network: nn.Module = _executed(CELLS / "network.py").CellNet()
    network.load_state_dict(load_file(CELLS / "cells.safetensors"))
    return network.eval().to(device)


def _executed(file: Path) -> ModuleType:
    spec = util.spec_from_file_location(f"cells_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def constants(file: Path) -> dict[str, Any]:
    """Numbers, texts and tuples that a module sets by name, without running it."""
    found = {}
    for line in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
            (target,) = line.targets if isinstance(line, ast.Assign) else (line.target,)
            with suppress(ValueError):  # made by a call
                found[ast.unparse(target)] = ast.literal_eval(line.value)
    return found


@cache
def exact(subject: Subject, device: str) -> nn.Module:
    """The network in float32 on the device; made once per process."""
    made = cells(device) if subject.name == "cells" else Encoder(subject.name, subject.side, device)
    return made.eval().requires_grad_(False)


def prepared(subject: Subject, precision: str, device: str) -> Run:
    """The network as a function of tiles, in an arithmetic of DTYPES; outputs are float32."""
    dtype, kind = DTYPES[precision], torch.device(device).type
    network = exact(subject, device)
    if precision == "bf16 throughout":
        network = deepcopy(network)
        network.vit.to(dtype)
        network.dtype = dtype
    elif precision != "f32":
        network = deepcopy(network)
        for part in network.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.to(dtype)
    network = network.to(memory_format=torch.channels_last)
    coarse = dtype if precision in ("bf16", "f16") else None

    def run(tiles: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode(), torch.autocast(kind, coarse, enabled=coarse is not None, cache_enabled=False):
            made = network(tiles)
            return tuple(t.float() for t in (made if isinstance(made, tuple) else (made,)))

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return run


def precisions(subject: Subject) -> list[str]:
    return [p for p in DTYPES if p != "bf16 throughout" or subject.name != "cells"]


def subjects(bench: Bench) -> tuple[Subject, ...]:
    return SMALL if bench.small else SUBJECTS


def draw(subject: Subject, n: int, seed: int = 0) -> Tensor:
    """Tiles that differ like tissue, in colors and shapes, not only in noise: uint8[n side side 3]."""
    rng = torch.Generator().manual_seed(seed)
    few = min(n, 64)
    coarse = torch.rand((few, 3, 7, 7), generator=rng)
    smooth = F.interpolate(coarse, size=(subject.side, subject.side), mode="bicubic", align_corners=False)
    noise = torch.rand(smooth.shape, generator=rng) * 0.2
    drawn = ((smooth * 0.9 + noise).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return drawn.repeat(-(-n // few), 1, 1, 1)[:n].contiguous()
