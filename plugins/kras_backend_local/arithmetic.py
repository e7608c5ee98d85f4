"""The arithmetic in which PyTorch computes a network: products in bf16 or f16 and the rest in f32, or f32 without TF32.

Decided by the least cosine to f32 on a CPU, 22 real tiles, bf16, for a ViT-S/16. Casting the weights of linear and
convolution layers once, with the rest under autocast: 0.999968 (bit for bit what autocast alone gives, without its
cast of every weight for every batch). Casting all weights except those of normalization: 0.999936, because the sum
along the blocks is then bf16 too, where f16 would also overflow in large networks. `cells`: 0.99998 either way. See
docs/decisions/0017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.nn.modules.conv import _ConvNd

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import PluginError
from kras_plugins.models.switches import without_tf32

Network: TypeAlias = Callable[..., tuple[torch.Tensor, ...]]
"""Input tensors in the order of the spec to contiguous outputs in its order and types."""

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def prepare(module: torch.nn.Module, precision: str) -> torch.nn.Module:
    """The module itself, with the weights of its products cast once and stored channels last; changed in place."""
    if precision != "f32":
        for part in module.modules():
            if isinstance(part, torch.nn.Linear | _ConvNd):
                part.to(DTYPES[precision])
    # Tiles come with the channels last, the layout that tensor cores prefer for images. Only 4-d weights change.
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
            # No cache: what it would keep is already cast, and a CUDA graph must not refer to it.
            torch.autocast(kind, dtype=coarse, enabled=coarse is not None, cache_enabled=False),
        ):
            made = module(*tensors)
            made = (made,) if isinstance(made, torch.Tensor) else tuple(made)
            found, wanted = [tuple(t.shape[1:]) for t in made], [t.shape for t in spec.outputs]
            if found != wanted:
                raise PluginError(
                    f"model {spec.name!r}: its outputs are {found}, its spec says {wanted}", "correct the ModelSpec"
                )
            return tuple(t.to(dtype).contiguous() for t, dtype in zip(made, dtypes, strict=True))

    return compute
