"""Training, prediction, explanation and storage of the `mlp` classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from kras_classifier_mlp import MlpOptions
from kras_plugins import StoppingTableClassifier
from kras_plugins.learning.training import EarlyStopping, positive_weight

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from kras_plugins.data import Float32, Float64

STEPS_PER_EPOCH = 4
"""Small cohorts get smaller batches, so that 200 epochs contain enough steps to learn."""


class MlpClassifier(StoppingTableClassifier):
    """`options.seeds` networks with one hidden ReLU layer; their mean logit is the score.

    With columns i, hidden units j and networks k: logit_k = Σ_j out_kj · ReLU(Σ_i weight_kij x_i + bias_kj) + base_k.
    """

    options_type = MlpOptions
    _parameters: Mapping[str, Float32]

    def learn(self, x: Float64, y: npt.NDArray[np.int8], valid_x: Float64, valid_y: npt.NDArray[np.int8]) -> None:
        """Train all networks as one batch; stop each on the loss of the second pair.

        Same data, seed and number of torch threads give the same bytes; no global random state is read or changed.
        """
        o = self.options
        rows, held_out_rows = (torch.from_numpy(part.astype(np.float32)) for part in (x, valid_x))
        labels, held_out_labels = (
            torch.from_numpy(part.astype(np.float32)).expand(o.seeds, -1) for part in (y, valid_y)
        )
        weight = torch.tensor(positive_weight(y))
        generator = torch.Generator().manual_seed(self.seed)

        def uniform(*shape: int, fan_in: int) -> Tensor:  # as torch.nn.Linear starts
            return (torch.rand(o.seeds, *shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)

        columns = rows.shape[1]
        net = {
            "weight": uniform(columns, o.hidden, fan_in=columns),
            "bias": uniform(1, o.hidden, fan_in=columns),
            "out": uniform(o.hidden, 1, fan_in=o.hidden),
            "base": torch.full((o.seeds, 1, 1), -math.log(weight)),  # the weighted prevalence
        }
        parameters = [p.requires_grad_() for p in net.values()]
        optimizer = torch.optim.AdamW(parameters, lr=o.lr, weight_decay=o.weight_decay, fused=True)
        stopping = EarlyStopping(parameters, o.patience)
        size = min(o.batch, math.ceil(len(y) / STEPS_PER_EPOCH))
        for _ in range(o.epochs):
            # Each network shuffles separately: rows of `order` are permutations.
            order = torch.rand(o.seeds, len(y), generator=generator).argsort(dim=-1)
            for batch in torch.split(order, size, dim=-1):
                keep = torch.rand(*batch.shape, o.hidden, generator=generator).ge_(o.dropout).div_(1 - o.dropout)
                loss = _loss(_logits(net, rows[batch], keep), labels.gather(1, batch), weight)
                optimizer.zero_grad()
                torch.autograd.backward(loss.sum())  # networks share no parameters: each gets its own gradient
                optimizer.step()
            with torch.no_grad():
                held_out = _loss(_logits(net, held_out_rows.expand(o.seeds, -1, -1)), held_out_labels, weight)
            if stopping.update(held_out):
                break
        stopping.restore()
        self._parameters = {name: p.detach().numpy() for name, p in net.items()}

    def score(self, x: Float64) -> Float64:
        """Mean logit over the networks, float64[patient]."""
        _, hidden, out, base = self._forward(x)
        logits: Float64 = (np.maximum(hidden, 0) @ out + base).mean(axis=0)[:, 0]
        return logits

    def contribute(self, row: Float64) -> tuple[Float64, float]:
        """Integrated gradients (Sundararajan, Taly & Yan, ICML 2017) from the training median to the patient.

        With one hidden ReLU layer the integral has a closed form: on the straight path from a (median) to b (patient)
        a unit passes on its mean gradient (ReLU(b) − ReLU(a)) / (b − a). The values sum exactly to score − base; the
        base is the score at the median.
        """
        x = row[None]
        _, start, out, base = self._forward(np.zeros_like(x))
        weight, end, _, _ = self._forward(x)
        step = end - start
        moved = step != 0
        rise = np.maximum(end, 0) - np.maximum(start, 0)
        slope = np.divide(rise, step, out=(start > 0).astype(np.float64), where=moved)
        values = x[0] * ((weight * slope) @ out)[..., 0].mean(axis=0)
        return values, float((np.maximum(start, 0) @ out + base).mean())

    def write(self, folder: Path) -> None:
        """Write `network.safetensors`."""
        save_file(dict(self._parameters), folder / "network.safetensors")

    def read(self, folder: Path) -> None:
        """Load what `write` wrote."""
        self._parameters = load_file(folder / "network.safetensors")

    def _forward(self, x: Float64) -> tuple[Float64, Float64, Float64, Float64]:
        """Weights, hidden units before ReLU float64[network sample unit], output weights and bases.

        In float64, so that a patient's score does not depend on who is scored along with them.
        """
        weight, bias, out, base = (
            self._parameters[name].astype(np.float64) for name in ("weight", "bias", "out", "base")
        )
        return weight, x @ weight + bias, out, base


def _logits(net: Mapping[str, Tensor], x: Tensor, keep: Tensor | None = None) -> Tensor:
    """Logits float32[network sample] of float32[network sample column]."""
    h = torch.relu(torch.baddbmm(net["bias"], x, net["weight"]))
    if keep is not None:
        h = h * keep
    return torch.baddbmm(net["base"], h, net["out"]).squeeze(-1)


def _loss(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Mean weighted cross-entropy float32[network]."""
    loss = binary_cross_entropy_with_logits(logits, labels, pos_weight=weight, reduction="none")
    return loss.mean(dim=-1)
