"""In which arithmetic PyTorch computes a network: products in bf16 or f16 and all else in f32, or f32 without TF32.

Decided by the least cosine to f32 on a CPU, 22 real tiles, bf16: weights of linear and convolution layers cast once
and the rest under autocast 0.999968 for a ViT-S/16 (bit for bit what autocast alone gives, without its cast of every
weight for every batch); all weights but those of normalization cast 0.999936, as the sum along the blocks is then
bf16 too, where f16 would also overflow in large networks. `cells`: 0.99998 either way. See docs/decisions/0017.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch.nn.modules.conv import _ConvNd

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import PluginError

Network: TypeAlias = Callable[..., tuple[torch.Tensor, ...]]
"""Input tensors in the order of the spec to contiguous outputs in its order and types."""

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def prepare(module: torch.nn.Module, precision: str) -> torch.nn.Module:
    """The module itself, weights of its products cast once and laid out with the channels last; changed in place."""
    if precision != "f32":
        for part in module.modules():
            if isinstance(part, torch.nn.Linear | _ConvNd):
                part.to(DTYPES[precision])
    # Tiles come with the channels last, and that is how the tensor cores want images. Only 4-d weights change.
    return module.to(memory_format=torch.channels_last)


def network(module: Any, spec: ModelSpec, precision: str, kind: str) -> Network:
    """A prepared module, compiled or not, as a function on devices of a `kind` (`cpu`, `cuda`, …).

    Raises PluginError where its outputs are not those of the spec.
    """

    coarse = None if precision == "f32" else DTYPES[precision]
    dtypes = [getattr(torch, tensor.dtype) for tensor in spec.outputs]

    def compute(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with (
            torch.inference_mode(),
            without_tf32(),
            # No cache: what it would keep is cast once already, and a CUDA graph must not hold it.
            torch.autocast(kind, dtype=coarse, enabled=coarse is not None, cache_enabled=False),
        ):
            made = module(*tensors)
            made = (made,) if isinstance(made, torch.Tensor) else tuple(made)
            found, wanted = [tuple(t.shape[1:]) for t in made], [t.shape for t in spec.outputs]
            if found != wanted:
                raise PluginError(
                    f"model {spec.name!r}: its outputs are {found}, its spec says {wanted}", "mend the ModelSpec"
                )
            return tuple(t.to(dtype).contiguous() for t, dtype in zip(made, dtypes, strict=True))

    return compute


_guard = threading.Lock()
_users = 0
_before: list[tuple[Any, str, Any]] = []


@contextmanager
def without_tf32() -> Iterator[None]:
    """No TF32 under the name f32 meanwhile.

    PyTorch's switches are the process': the first user turns them off, the last one puts back what was there. A
    captured CUDA graph keeps the arithmetic of its capture and needs no switch when it is replayed.
    """
    global _users, _before
    with _guard:
        if _users == 0:
            switches = _switches()
            _before = [(owner, name, getattr(owner, name)) for owner, name, _ in switches]
            for owner, name, off in switches:
                setattr(owner, name, off)
        _users += 1
    try:
        yield
    finally:
        with _guard:
            _users -= 1
            if _users == 0:
                for owner, name, value in _before:
                    setattr(owner, name, value)


def _switches() -> list[tuple[Any, str, Any]]:
    """Owner, name and value for off. PyTorch has two interfaces and refuses the old one where the new was used."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    try:
        found = [(owner, "allow_tf32", False) for owner in (matmul, cudnn)]
        for owner, name, _ in found:
            getattr(owner, name)
    except RuntimeError:
        parts: tuple[Any, ...] = (matmul, getattr(cudnn, "conv"), getattr(cudnn, "rnn"))  # noqa: B009 - from 2.9 on
        return [(owner, "fp32_precision", "ieee") for owner in parts]
    return found
