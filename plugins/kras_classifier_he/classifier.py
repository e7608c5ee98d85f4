"""Training, prediction and storage of the `he` classifier."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from kras_classifier_he import HeOptions
from kras_classifier_he.bags import Source, count, evenly, gather, places, source_of
from kras_classifier_he.network import Dropout, GatedAttention
from kras_plugins import Cohort, ConfigError, Explanation, PluginError, Sample
from kras_plugins.learning.training import EarlyStopping, check_parts, positive_weight

if TYPE_CHECKING:
    from kras_plugins.data import Float32

STEPS_PER_EPOCH = 8
"""Fewer patients than 8 batches get smaller batches: two steps an epoch at lr 1e-4 would learn nothing in 40 epochs."""
FULL_COURSE = 2000
"""Optimizer steps for which `lr` is meant: 40 epochs of 16 out of 800 patients. AdamW moves a weight by at most lr a
step, so fewer steps get a larger lr, at most tenfold, to be able to go as far."""
SOLVED = 0.05
"""A validation loss (nats) at which nothing worth the time is left to learn."""

TILES_AT_ONCE = 4096
"""Tiles run through the networks together; bounds memory, not results."""


class HeClassifier:
    """Gated-attention MIL with `options.seeds` networks, whose mean logit is the score."""

    def __init__(self, options: HeOptions, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._network: GatedAttention | None = None
        self._source: Source | None = None

    @property
    def most_tiles(self) -> int:
        """How many of a patient's tiles prediction looks at."""
        return self._options.max_tiles

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Train on `train`, stop each network on the loss of `valid` (docs/reference/definitions.md, mil).

        Features are standardized with mean and standard deviation of the training tiles. Same data, seed and number
        of torch threads give the same bytes; no global random state is read or changed.
        """
        check_parts(train, valid)
        o = self._options
        source = source_of([*train.samples, *valid.samples])
        rng = np.random.default_rng(self._seed)
        generator = torch.Generator().manual_seed(self._seed)
        mean, sd = _standard(train.samples, o.tiles)
        network = GatedAttention(o.seeds, mean, sd, o.hidden, o.attention, generator)
        weight = torch.tensor(positive_weight(train.labels))
        with torch.no_grad():  # start at the weighted prevalence, which the small steps need not search then
            network.head_biases[..., -1] = -math.log(weight)
        drop = Dropout(o.feature_dropout, o.dropout, generator)
        parameters = list(network.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=o.lr, weight_decay=o.weight_decay, fused=True)
        stopping = EarlyStopping(parameters, o.patience, solved=SOLVED)
        labels = torch.as_tensor(np.asarray(train.labels, dtype=np.float32))
        valid_labels = torch.as_tensor(np.asarray(valid.labels, dtype=np.float32))
        size = min(o.batch_bags, math.ceil(len(train) / STEPS_PER_EPOCH))
        steps = o.epochs * math.ceil(len(train) / size)
        lr = o.lr * min(max(FULL_COURSE / steps, 1.0), 10.0)
        step = 0
        for _ in range(o.epochs):
            order = rng.permutation(len(train))
            for batch in np.split(order, range(size, len(order), size)):
                drawn = [_draw(train.samples[i], o.tiles, rng) for i in batch]
                for group in optimizer.param_groups:
                    group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
                optimizer.zero_grad()
                for part in _groups([len(d) for d in drawn]):
                    x = np.concatenate([gather(train.samples[batch[i]], drawn[i]) for i in part])
                    logits = network(torch.from_numpy(x), [len(drawn[i]) for i in part], drop)
                    y = labels[torch.from_numpy(batch[part])]
                    # Summed over networks, which share no parameter: each gets its own gradient.
                    loss = _loss(logits, y, weight).sum() / len(batch)
                    torch.autograd.backward(loss)
                optimizer.step()
                step += 1
            # As many tiles as in training: all 10,000 of each patient would cost more than the epoch did.
            held_out = torch.stack([_run(network, s, o.tiles)[0] for s in valid.samples], dim=-1)
            if stopping.update(_loss(held_out, valid_labels, weight).mean(dim=-1)):
                break
        stopping.restore()
        network.base.copy_(torch.stack([_run(network, s, o.tiles)[0] for s in train.samples]).mean(dim=0))
        self._network, self._source = network, source

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Mean logit over the networks, float32[sample]; each patient is run alone, whatever else is asked."""
        network = self._fitted(samples)
        scores = [_run(network, sample, self._options.max_tiles)[0].mean() for sample in samples]
        return np.array(scores, dtype=np.float32)

    def explain(self, sample: Sample) -> Explanation:
        """Contribution of each tile looked at: a (s - base), mean over the networks; and its attention a.

        a: the tile's attention, s: its score, base: the mean logit of the training patients, all of one network. As
        the attention of a patient sums to 1, the contributions sum to the score less the mean base.
        """
        network = self._fitted([sample])
        _, e, s = _run(network, sample, self._options.max_tiles)
        attention, base = e.double().softmax(dim=-1), network.base.double()
        slides, xy = places(sample, evenly(count(sample), self._options.max_tiles))
        return Explanation(
            kind="contribution",
            values=(attention * (s.double() - base[:, None])).mean(dim=0).numpy(),
            base=float(base.mean()),
            slide_ids=slides,
            xy=xy,
            attention=attention.mean(dim=0).numpy(),
        )

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `classifier.json`."""
        network = self._fitted(())
        assert self._source is not None
        save_file(network.state_dict(), folder / "network.safetensors")
        facts = {
            "options": self._options.result_affecting(),
            "seed": self._seed,
            "source": asdict(self._source),
        }
        (folder / "classifier.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> HeClassifier:
        """The classifier that `save` wrote."""
        facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        loaded = cls(HeOptions.model_validate(facts["options"]), facts["seed"])
        o, source = loaded._options, Source(**facts["source"])
        mean, sd = torch.zeros(2, source.dim)
        network = GatedAttention(o.seeds, mean, sd, o.hidden, o.attention, torch.Generator())
        network.load_state_dict(load_file(folder / "network.safetensors"))
        loaded._network, loaded._source = network, source
        return loaded

    def _fitted(self, samples: Sequence[Sample]) -> GatedAttention:
        """The network, after making sure that these samples suit it."""
        if self._network is None:
            raise PluginError("classifier he is not fitted", "call fit or load first")
        for sample in samples:
            count(sample)
            if (found := source_of([sample])) != self._source:
                raise ConfigError(
                    f"tile features of patient {sample.patient_id!r} are of {found}, the model's of {self._source}",
                    "extract features with the extractor and options that the model was trained with",
                )
        return self._network


def _loss(logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy float32[network bag]."""
    return binary_cross_entropy_with_logits(logits, labels.expand_as(logits), pos_weight=weight, reduction="none")


def _draw(sample: Sample, at_most: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A random subset of a patient's tiles, ascending."""
    n = count(sample)
    return np.arange(n) if n <= at_most else np.sort(rng.choice(n, at_most, replace=False))


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Neighboring bags, as many at a time as stay within TILES_AT_ONCE, or one."""
    group: list[int] = []
    for i, length in enumerate(lengths):
        if group and sum(lengths[j] for j in group) + length > TILES_AT_ONCE:
            yield group
            group = []
        group.append(i)
    yield group


def _standard(samples: Sequence[Sample], tiles: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation float32[feature], each patient counting alike; 1 for a feature that is constant."""
    moments = []
    for sample in samples:
        x = gather(sample, evenly(count(sample), tiles)).astype(np.float64)
        moments.append((x.mean(axis=0), (x**2).mean(axis=0)))
    mean, square = np.mean(moments, axis=0)
    variance = square - mean**2
    sd = np.sqrt(np.where(variance > 1e-12 * np.maximum(square, 1e-300), variance, 1.0))
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(sd.astype(np.float32))


@torch.no_grad()
def _run(network: GatedAttention, sample: Sample, at_most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A patient's logit float32[network], its tiles' attention logits and scores float32[network tile]; no dropout."""
    index = evenly(count(sample), at_most)
    pieces = np.split(index, range(TILES_AT_ONCE, len(index), TILES_AT_ONCE))
    outputs = [network.tiles(torch.from_numpy(gather(sample, piece))) for piece in pieces]
    e, s = (torch.cat(parts, dim=-1) for parts in zip(*outputs, strict=True))
    return network.pool(e, s), e, s
