"""Fusion `logit`: the mean of calibrated logits, equal weights; nothing is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.learning.ensemble import Fused, fuse

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64


@dataclass(frozen=True)
class MeanLogit:
    """The geometric mean of the members' odds."""

    @classmethod
    def fit(cls, logits: Mapping[str, Float64], labels: npt.NDArray[np.integer[Any]]) -> MeanLogit:
        """Nothing to fit."""
        return cls()

    def fuse(self, logits: Mapping[str, Float64]) -> Fused:
        """Mean logits."""
        return fuse(logits)

    def to_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MeanLogit:
        """The same again."""
        return cls()
