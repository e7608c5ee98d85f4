"""The engine that checks run models on: ONNX Runtime in float32, which refuses inputs unlike the ModelSpec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import BackendError
from kras_plugins.models.weights import is_present
from kras_plugins.testing.checks.outcome import NotApplicable

if TYPE_CHECKING:
    from pathlib import Path

    from kras_plugins.contracts.backend import Arrays

BATCH = 8
"""Tiles at once, if the model allows that many."""


class Reference:
    """An Infer that any backend must agree with. `failing` makes it fail like a lost server."""

    in_flight = 2

    def __init__(self, spec: ModelSpec, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.batch = min(BATCH, spec.max_batch)
        self.failing = False
        self._spec = spec
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises BackendError for anything but the arrays that the spec describes."""
        if self.failing:
            raise BackendError("the server was lost", "a check simulates this")
        wanted = {t.name: t for t in self._spec.inputs}
        if set(inputs) != set(wanted):
            raise BackendError(f"model {self._spec.name!r} takes {', '.join(wanted)}, got {', '.join(inputs)}")
        for name, array in inputs.items():
            tensor = wanted[name]
            if array.dtype != tensor.dtype or array.shape[1:] != tensor.shape or not 0 < len(array) <= self.batch:
                raise BackendError(
                    f"model {self._spec.name!r}: {name} is {array.dtype}{list(array.shape)}, its spec says "
                    f"{tensor.dtype}{[f'1..{self.batch}', *tensor.shape]}"
                )
        names = [t.name for t in self._spec.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def present(spec: ModelSpec) -> None:
    """Raise NotApplicable if the weights of a model are not on this machine."""
    if not is_present(spec.weights):
        raise NotApplicable(
            f"the weights {spec.weights.source} are not on this machine: give options that name a file or random:SEED"
        )
