"""PyTorch, and ONNX Runtime for models that are ONNX files: both on the same cards, both in f32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kras_backend_local.onnxruntime_engine import OnnxRuntime
from kras_backend_local.torch_engine import Torch
from kras_plugins.contracts.backend import Infer
from kras_plugins.contracts.model import ModelSpec
from kras_plugins.models.export import is_ready_made


class ByModel:
    """Backend of two engines. Only if both compute in the same arithmetic, since a backend has one name for it."""

    def __init__(self, modules: Torch, files: OnnxRuntime) -> None:
        assert modules.precision == files.precision
        self.precision = modules.precision
        self.engine = f"{modules.engine}, ONNX files {files.engine}"
        self._modules, self._files = modules, files

    def load(self, spec: ModelSpec) -> Infer:
        """By ONNX Runtime where the weights are an ONNX file, else by PyTorch."""
        return self._files.load(spec) if is_ready_made(spec) else self._modules.load(spec)

    def report(self) -> Mapping[str, Any]:
        """The devices."""
        return self._modules.report()

    def close(self) -> None:
        """Nothing to release beyond what Python frees."""
