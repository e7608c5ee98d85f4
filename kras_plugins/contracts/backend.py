"""What a backend must provide: something that runs a ModelSpec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from kras_plugins.contracts.base import PluginRecord
from kras_plugins.contracts.model import ModelSpec

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays: TypeAlias = "Mapping[str, npt.NDArray[Any]]"
"""Named arrays, the batch as first axis."""


class Infer(Protocol):
    """A loaded model: maps named arrays to named arrays, blocking, callable from many threads at once.

    `batch` is the number of items per call that suits it (the host cuts batches of this size), `in_flight` how many
    simultaneous calls keep it busy.
    """

    batch: int
    in_flight: int

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch: every array's first axis is the batch, at most `batch` long; raises BackendError."""
        ...


class Backend(Protocol):
    """An open engine or connection. A derived class only needs `engine`, `precision` and `load`."""

    precision: str
    """The arithmetic truly used (`f32`, `bf16`, `f16`, `int8`); it enters store keys, manifest and bundle."""
    engine: str
    """Engine name and version, for example `openvino 2026.4`; it enters store keys and manifest."""

    def load(self, spec: ModelSpec) -> Infer:
        """Make a model ready; raises BackendError when weights or engine are missing."""
        ...

    def report(self) -> Mapping[str, Any]:
        """What was measured since it was opened (requests, retries, seconds), for the manifest; may be empty."""
        return {}

    def close(self) -> None:
        """Release the engine and abandon work in progress; calling it twice, or while it is used, is harmless."""
        return


@dataclass(frozen=True, kw_only=True)
class BackendPlugin(PluginRecord):
    """`create(options)` opens the engine or connection."""

    create: Callable[[Any], Backend]
