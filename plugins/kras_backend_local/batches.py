"""What all engines do with a batch: check it against the model's tensors and fill it up to the fixed size."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.contracts.model import ModelSpec
from kras_plugins.errors import BackendError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.contracts.backend import Arrays

_log = logging.getLogger("kras.backend.local")


def batch_of(spec: ModelSpec, asked: int, usual: int) -> int:
    """Items per call: `asked`, or `usual` where that is 0, and never more than the model takes.

    If a requested batch size is reduced, this is logged.
    """
    if asked > spec.max_batch:
        _log.warning("model %r takes batches of at most %d; %d was requested", spec.name, spec.max_batch, asked)
    return min(asked or usual, spec.max_batch)


def count(inputs: Arrays, spec: ModelSpec, batch: int) -> int:
    """Number of items in a call's arrays; BackendError if they are not the model's inputs or more than `batch`."""
    for tensor in spec.inputs:
        array = inputs.get(tensor.name)
        if array is None or array.dtype != tensor.dtype or array.shape[1:] != tensor.shape:
            found = "none" if array is None else f"{array.dtype}{list(array.shape)}"
            raise BackendError(
                f"model {spec.name!r}: input {tensor.name!r} is {found}, expected is {tensor.dtype}"
                f"[batch, {', '.join(map(str, tensor.shape))}]",
                "this is a fault of the code that calls the model",
            )
    sizes = {len(inputs[t.name]) for t in spec.inputs}
    n = max(sizes)
    if len(sizes) > 1 or not 0 < n <= batch:
        raise BackendError(
            f"model {spec.name!r}: a batch of {', '.join(map(str, sorted(sizes)))}, at most {batch} fit",
            "cut it smaller",
        )
    return n


def filled(array: npt.NDArray[Any], batch: int) -> npt.NDArray[Any]:
    """The array itself where it has `batch` items, else a copy with zeros behind them."""
    if len(array) == batch:
        return np.ascontiguousarray(array)
    full = np.zeros((batch, *array.shape[1:]), array.dtype)
    full[: len(array)] = array
    return full
