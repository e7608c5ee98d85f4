"""ModelSpec: a neural network described once, for every backend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Name, dtype and shape of one input or output, batch axis excluded (it is always first and dynamic)."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where a model's weights come from and under which license.

    `source`: a path, `hf:OWNER/NAME/FILE` (downloaded by the user through `kras model fetch`), `random:SEED` (seeded
    random weights, only if a caller asks for them by name) or `builtin` (fixed numbers in the plug-in's code). `gated`:
    the hub requires a token. `sha256` is set if the publisher states it; the host computes it otherwise. `tcga`:
    whether TCGA slides were in the pre-training, None if nobody states it. `parameters`: in millions. `caution`: what
    everybody who uses them must know; shown in the manifest, the report and on the command line.
    """

    source: str
    licence: str
    revision: str = "main"
    sha256: str = ""
    gated: bool = False
    citation: str = ""
    tcga: bool | None = None
    parameters: float | None = None
    caution: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One network: exported to one ONNX file with the normalization inside, uint8 NHWC in, float32 or uint8 out.

    An output in uint8 is rounded inside the graph (to 255ths, say), so that only a quarter of the bytes comes from a
    GPU or a server; the cast to it is the last operation, as TensorRT requires.

    `name` is its folder in a model repository. `build(path)` returns a torch module in evaluation mode that maps the
    inputs to the tuple of outputs (or the one output); `path` is the weights file, None for `random:` and `builtin`.
    `transform` states what happens to pixels before and after the network (px, mpp, mean, std, pooling); its digest is
    stored with every feature. `max_batch`: the most items per call that the network may get, whatever a user asks for;
    the default is the backend's choice.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build: Callable[[Path | None], torch.nn.Module]
    weights: Weights
    transform: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    max_batch: int = 64

    @property
    def transform_hash(self) -> str:
        """First 16 hex digits of the sha256 of `transform` as canonical JSON."""
        text = json.dumps(self.transform, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
