"""Training, prediction, explanation and storage of the `mlp` classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from kras_classifier_mlp import MlpOptions
from kras_plugins import Cohort, Explanation, PluginError, Sample
from kras_plugins.learning.tabular import Preprocessor, read_facts, write_facts
from kras_plugins.learning.training import EarlyStopping, check_parts, positive_weight

if TYPE_CHECKING:
    from torch import Tensor

    from kras_plugins.data import Float32, Float64

STEPS_PER_EPOCH = 4
"""Small cohorts get smaller batches, so that 200 epochs hold enough steps to learn from."""


class MlpClassifier:
    """`options.seeds` networks with one hidden ReLU layer; their mean logit is the score.

    With columns i, hidden units j and networks k: logit_k = Σ_j out_kj · ReLU(Σ_i weight_kij x_i + bias_kj) + base_k.
    """

    def __init__(self, options: MlpOptions, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._preprocessor: Preprocessor | None = None
        self._parameters: Mapping[str, Float32] = {}

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Train all networks as one batch on `train`; stop each on the loss of `valid`.

        The preprocessor sees `train` only. Same data, seed and number of torch threads give the same bytes; no global
        random state is read or changed.
        """
        check_parts(train, valid)
        o = self._options
        preprocessor = Preprocessor.fit(train.samples, o.features, o.ip_preset)
        x, valid_x = (torch.from_numpy(preprocessor.scaled(p.samples).astype(np.float32)) for p in (train, valid))
        y, valid_y = (
            torch.as_tensor(np.asarray(p.labels, dtype=np.float32)).expand(o.seeds, -1) for p in (train, valid)
        )
        weight = torch.tensor(positive_weight(train))
        generator = torch.Generator().manual_seed(self._seed)

        def uniform(*shape: int, fan_in: int) -> Tensor:  # as torch.nn.Linear starts
            return (torch.rand(o.seeds, *shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)

        columns = x.shape[1]
        net = {
            "weight": uniform(columns, o.hidden, fan_in=columns),
            "bias": uniform(1, o.hidden, fan_in=columns),
            "out": uniform(o.hidden, 1, fan_in=o.hidden),
            "base": torch.full((o.seeds, 1, 1), -math.log(weight)),  # the weighted prevalence
        }
        parameters = [p.requires_grad_() for p in net.values()]
        optimizer = torch.optim.AdamW(parameters, lr=o.lr, weight_decay=o.weight_decay, fused=True)
        stopping = EarlyStopping(parameters, o.patience)
        size = min(o.batch, math.ceil(len(train) / STEPS_PER_EPOCH))
        for _ in range(o.epochs):
            # Each network shuffles on its own: rows of `order` are permutations.
            order = torch.rand(o.seeds, len(train), generator=generator).argsort(dim=-1)
            for batch in torch.split(order, size, dim=-1):
                keep = torch.rand(*batch.shape, o.hidden, generator=generator).ge_(o.dropout).div_(1 - o.dropout)
                loss = _loss(_logits(net, x[batch], keep), y.gather(1, batch), weight)
                optimizer.zero_grad()
                torch.autograd.backward(loss.sum())  # networks share no parameter: each gets its own gradient
                optimizer.step()
            with torch.no_grad():
                held_out = _loss(_logits(net, valid_x.expand(o.seeds, -1, -1)), valid_y, weight)
            if stopping.update(held_out):
                break
        stopping.restore()
        self._preprocessor = preprocessor
        self._parameters = {name: p.detach().numpy() for name, p in net.items()}

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Mean logit over the networks, float32[sample]."""
        _, hidden, out, base = self._forward(self._fitted().scaled(samples))
        return np.asarray((np.maximum(hidden, 0) @ out + base).mean(axis=0)[:, 0], dtype=np.float32)

    def explain(self, sample: Sample) -> Explanation:
        """Integrated gradients (Sundararajan, Taly & Yan, ICML 2017) from the training median to the patient.

        With one hidden ReLU layer the integral has a closed form: on the straight path from a (median) to b (patient)
        a unit passes on its mean gradient (ReLU(b) − ReLU(a)) / (b − a). The values sum to score − base without a
        rest; `base` is the score at the median.
        """
        preprocessor = self._fitted()
        x = preprocessor.scaled([sample])
        _, start, out, base = self._forward(np.zeros_like(x))
        weight, end, _, _ = self._forward(x)
        step = end - start
        moved = step != 0
        rise = np.maximum(end, 0) - np.maximum(start, 0)
        slope = np.divide(rise, step, out=(start > 0).astype(np.float64), where=moved)
        values = x[0] * ((weight * slope) @ out)[..., 0].mean(axis=0)
        score = float((np.maximum(start, 0) @ out + base).mean())
        return Explanation(kind="contribution", values=values, base=score, names=preprocessor.columns)

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `classifier.json`."""
        preprocessor = self._fitted()
        save_file(dict(self._parameters), folder / "network.safetensors")
        write_facts(folder, self._options, self._seed, preprocessor)

    @classmethod
    def load(cls, folder: Path) -> MlpClassifier:
        """The classifier that `save` wrote."""
        options, seed, preprocessor = read_facts(folder, MlpOptions)
        loaded = cls(options, seed)
        loaded._preprocessor = preprocessor
        loaded._parameters = load_file(folder / "network.safetensors")
        return loaded

    def _fitted(self) -> Preprocessor:
        if self._preprocessor is None:
            raise PluginError("classifier mlp is not fitted", "call fit or load first")
        return self._preprocessor

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
