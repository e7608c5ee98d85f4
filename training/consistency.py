"""Agreement on tissue without labels (mean teacher: Tarvainen & Valpola, NeurIPS 2017).

The averaged network sees a tile as it is; the trained one sees it stained and photographed otherwise, and must agree.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kras_profiler_cells.network import CLASS_STEP, CellNet
from training.augment import crop, photograph, recolor, restain
from training.fields import Field

BATCH = 4
"""Pairs a step, beside the labelled samples."""
WEIGHT = 10.0
"""Of the disagreement, beside the loss of the labelled samples; tried once, not tuned."""
RISE = 0.3
"""Share of all steps over which the weight rises: at first the averaged network knows nothing."""


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Pair `index` is drawn from `(seed, index)` alone: a tile uint8[side side 3] as it is, and otherwise stained."""

    def __init__(self, fields: Sequence[Field], seed: int, first: int, last: int, side: int) -> None:
        self.fields, self.seed, self.first, self.last, self.side = fields, seed, first, last, side

    def __len__(self) -> int:
        """How many pairs are left."""
        return self.last - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The tile that the averaged network judges, and the one that is trained on its judgment."""
        rng = np.random.default_rng([self.seed, 1, self.first + index])
        field, other = (self.fields[i] for i in rng.integers(len(self.fields), size=2))
        plain, *_ = crop(field, rng, self.side)
        changed = plain
        if rng.random() < 0.5:
            changed = recolor(changed, field.palette, other.palette, rng.uniform(0.3, 1))
        changed = photograph(restain(changed, rng), rng)
        return torch.from_numpy(np.array(plain)), torch.from_numpy(np.array(changed))


def pairs(fields: Sequence[Field], seed: int, step: int, until: int, side: int) -> Generator[list[Tensor]]:
    """Batches of pairs for steps `step` to `until`: plain and changed, uint8[BATCH side side 3]."""
    yield from DataLoader(Pairs(fields, seed, step * BATCH, until * BATCH, side), batch_size=BATCH, num_workers=1)


def disagreement(network: CellNet, average: CellNet, plain: Tensor, changed: Tensor) -> Tensor:
    """How far a network is from the average about one place, a scalar that is 0 if they agree.

    Mean squared difference of the probabilities of nucleus and distance, and a quarter of that of the class
    probabilities where the average sees nuclei (Tarvainen & Valpola 2017, there of classes alone). `plain` and
    `changed`: uint8[tile h w 3]; no gradient reaches `average`.
    """
    with torch.no_grad():
        shape, kind = average.logits(plain)
        wanted, classes = shape.sigmoid(), kind.softmax(1)
    shape, kind = network.logits(changed)
    inside = (wanted[:, :1, ::CLASS_STEP, ::CLASS_STEP] > 0.5).float()
    typing = ((kind.softmax(1) - classes).square() * inside).sum() / (inside.sum() * classes.shape[1] + 1)
    return F.mse_loss(shape.sigmoid(), wanted) + 0.25 * typing


def weight(step: int, steps: int) -> float:
    """WEIGHT, risen to by exp(-5 (1 - t)^2) over the first RISE of all steps, as in Tarvainen & Valpola (2017)."""
    return WEIGHT * math.exp(-5 * (1 - min(1.0, step / (RISE * steps))) ** 2)
