"""What classifiers need while they train: a check of the parts, the weight of positives, early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.contracts.classifier import Cohort
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch


def check_parts(train: Cohort, valid: Cohort) -> None:
    """Raise ConfigError unless `train` holds both classes and `valid` holds anybody."""
    for name in ("positive", "negative"):
        if not np.any(np.asarray(train.labels) == (name == "positive")):
            raise ConfigError(
                f"the training part of {len(train)} patients has no {name} patient",
                "use fewer folds or a cohort with more patients of each class",
            )
    if not len(valid):
        raise ConfigError("the validation part is empty", "use fewer folds or a larger cohort")


def positive_weight(labels: npt.NDArray[np.int8]) -> float:
    """Weight of a positive patient in the loss: √(negatives / positives).

    The square root balances halfway: the full ratio (14 at a prevalence of 6.7 %) lets single patients dominate the fit
    and spoils calibration (docs/reference/definitions.md, mil). Nowhere else does a classifier handle imbalance.
    """
    positives = int(np.sum(labels))
    return math.sqrt((len(labels) - positives) / positives)


class EarlyStopping:
    """Stop on the smoothed validation loss, for several networks trained as one batch.

    Every parameter's first axis is the network (seed). The loss is smoothed by an exponential moving average, since
    that of a handful of patients fluctuates; the AUROC of ten positives would fluctuate even more. A network that has
    not improved for `patience` epochs, or whose loss fell to `solved`, is done and keeps its best weights; the batch is
    done when all networks are.
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], patience: int, smoothing: float = 0.5, solved: float = 0.0
    ) -> None:
        self._parameters = list(parameters)
        self._best = [p.detach().clone() for p in self._parameters]
        self._patience = patience
        self._smoothing = smoothing
        self._solved = solved
        networks = len(self._parameters[0])
        self._smooth: torch.Tensor | None = None
        self._lowest = self._best[0].new_full((networks,), math.inf)
        self._waited = [0] * networks

    def update(self, loss: torch.Tensor) -> bool:
        """Take an epoch's validation loss float[network]; returns whether all networks are done."""
        before = loss if self._smooth is None else self._smooth
        self._smooth = self._smoothing * before + (1 - self._smoothing) * loss
        for i, value in enumerate(self._smooth.tolist()):
            if self._waited[i] >= self._patience:
                continue
            if value < self._lowest[i]:
                self._lowest[i] = value
                self._waited[i] = 0
                for best, parameter in zip(self._best, self._parameters, strict=True):
                    best[i] = parameter.detach()[i]
            else:
                self._waited[i] += 1
            if value <= self._solved:
                self._waited[i] = self._patience
        return min(self._waited) >= self._patience

    def restore(self) -> None:
        """Put every network's best weights back."""
        for best, parameter in zip(self._best, self._parameters, strict=True):
            parameter.detach().copy_(best)
