"""Is it learning, or has everything collapsed to one vector? Monitors feature rank and entropy of the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log

import torch
from torch import Tensor

from kras_plugins.errors import BackendError

LEAST_RANK = 1.5
"""Effective rank of a batch's features below which they have one direction: photographs and H&E give tens."""
LEAST_SPREAD = 0.02
"""Entropy of the mean teacher output, as a share of the largest, below which one prototype takes all samples."""
MOST_ENTROPY = 0.9995
"""Mean entropy of the teacher's outputs above which all prototypes take all samples alike; usual: 0.2 to 0.98."""
FEWEST = 4
"""Samples below which rank and spread mean nothing: two views of one sample should give one direction and prototype."""
PATIENCE = 3
"""Checks in a row that must be bad, because a single batch may be unusual."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """`rank`: effective rank of the teacher's class tokens. `entropy`: mean entropy of its outputs, `spread`: entropy
    of their mean, both as shares of log(outputs)."""

    rank: float
    entropy: float
    spread: float


def examine(features: Tensor, outputs: Tensor, center: Tensor, temperature: float) -> Health:
    """Health of a batch: class tokens float[n d], outputs of the head float[n k]."""
    p = torch.softmax((outputs.float() - center) / temperature, dim=-1)
    most = log(p.shape[-1])
    return Health(
        rank=effective_rank(features),
        entropy=float(_entropy(p).mean()) / most,
        spread=float(_entropy(p.mean(dim=0))) / most,
    )


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalized singular values of centered features (Roy & Vetterli, EUSIPCO 2007).

    Between 1 and the smaller of n - 1 and d; 1 as well where all rows are equal, NaN where one is not finite.
    """
    x = features.float() - features.float().mean(dim=0)
    if not bool(torch.isfinite(x).all()):
        return float("nan")
    s = torch.linalg.svdvals(x)
    if float(s[0]) < 1e-6 * max(1.0, float(features.float().norm())):
        return 1.0
    return float(_entropy(s / s.sum()).exp())


def _entropy(p: Tensor) -> Tensor:
    each: Tensor = torch.special.entr(p)
    return each.sum(dim=-1)


class Watch:
    """Counts bad checks in a row. Checks before `grace` steps count only where numbers are not finite.

    `samples`: how many are looked at; with fewer than FEWEST neither rank nor spread counts.
    """

    def __init__(self, grace: int, bad: int = 0, samples: int = FEWEST) -> None:
        self.grace, self.bad, self.few = grace, bad, samples < FEWEST

    def sees(self, step: int, loss: float, health: Health) -> str:
        """Why training should stop, or an empty string."""
        if not all(map(isfinite, (loss, health.rank, health.entropy, health.spread))):
            return f"the loss or the features are not finite (loss {loss:g})"
        narrow = health.rank < LEAST_RANK or health.spread < LEAST_SPREAD
        bad = (narrow and not self.few) or health.entropy > MOST_ENTROPY
        self.bad = self.bad + 1 if bad and step >= self.grace else 0
        if self.bad < PATIENCE:
            return ""
        return (
            f"the features have collapsed: effective rank {health.rank:.2f} (at least {LEAST_RANK:g}), "
            f"spread of the teacher's outputs {health.spread:.3f} (at least {LEAST_SPREAD:g}), their entropy "
            f"{health.entropy:.4f} (at most {MOST_ENTROPY:g})"
        )


def collapsed(step: int, why: str) -> BackendError:
    """The error that ends a training that no longer learns anything."""
    return BackendError(
        f"stopped at step {step}: {why}",
        "lower the learning rate (--set lr=…), warm up longer, keep centering (center_momentum below 1) or enlarge the "
        "batch; then delete the checkpoint and start again",
    )
