"""Training, prediction and storage of the `he` classifier."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits

from kras_classifier_he import HeOptions
from kras_classifier_he.feed import Feed, Piece
from kras_classifier_he.network import Dropout, GatedAttention
from kras_plugins import Cohort, Explanation, PluginError, Sample
from kras_plugins.learning.tiles import Source, check_source, count, evenly, gather, places, source_of
from kras_plugins.learning.training import EarlyStopping, check_parts, positive_weight
from kras_plugins.models.devices import find_device
from kras_plugins.models.switches import deterministic, without_tf32

if TYPE_CHECKING:
    from kras_plugins.data import Float32
    from kras_plugins.learning.tiles import Index

Ran: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

STEPS_PER_EPOCH = 8
"""Cohorts of fewer than 8 batches get smaller batches: two steps per epoch at lr 1e-4 learn nothing in 40 epochs."""
FULL_COURSE = 2000
"""Optimizer steps for which `lr` is meant: 40 epochs of 16 out of 800 patients. AdamW moves a weight by at most lr per
step, so fewer steps get a larger lr, at most tenfold, to be able to move as far."""
SOLVED = 0.05
"""A validation loss (nats) below which further training is not worth the time."""

TILES_AT_ONCE = 4096
"""Tiles run through the networks together; bounds memory, not results."""


_log = logging.getLogger("kras.classifier.he")


class HeClassifier:
    """Gated-attention MIL with `options.seeds` networks, whose mean logit is the score.

    `device`: where it computes; None: as in the options. BackendError if that device is not available.
    """

    def __init__(self, options: HeOptions, seed: int, device: torch.device | None = None) -> None:
        self._options = options
        self._seed = seed
        self._device = _device(options.device) if device is None else device
        self._network: GatedAttention | None = None
        self._source: Source | None = None

    @property
    def most_tiles(self) -> int | None:
        """How many of a patient's tiles are used in prediction; None for all."""
        return self._options.max_tiles or None

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Train on `train`, stop each network on the loss of `valid` (docs/reference/definitions.md, mil).

        Features are standardized with mean and standard deviation of the training tiles. Same data, seed, device and
        number of torch threads give the same bytes; no global random state is read or changed. Memory does not grow
        with the number of patients.
        """
        check_parts(train, valid)
        source = source_of([*train.samples, *valid.samples])
        with _exact():
            self._network, self._source = self._trained(train, valid), source

    def _trained(self, train: Cohort, valid: Cohort) -> GatedAttention:
        o, device = self._options, self._device
        rng = np.random.default_rng(self._seed)
        generator = torch.Generator().manual_seed(self._seed)
        mean, sd = _standard(train.samples, o.tiles)
        network = GatedAttention(o.seeds, mean, sd, o.hidden, o.attention, generator)
        weight = torch.tensor(positive_weight(train.labels))
        with torch.no_grad():  # start at the weighted prevalence, so that the small steps need not search for it
            network.head_biases[..., -1] = -math.log(weight)
        network.to(device)
        weight = weight.to(device)
        # Drawn on the device: copying them to a GPU would take longer than its matrix products.
        drawing = generator if device.type == "cpu" else torch.Generator(device).manual_seed(self._seed)
        feed = Feed(device)
        drop = Dropout(o.feature_dropout, o.dropout, drawing)
        parameters = list(network.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=o.lr, weight_decay=o.weight_decay, fused=True)
        stopping = EarlyStopping(parameters, o.patience, solved=SOLVED)
        labels, valid_labels = (torch.as_tensor(np.asarray(p.labels, np.float32)).to(device) for p in (train, valid))
        size = min(o.batch_bags, math.ceil(len(train) / STEPS_PER_EPOCH))
        steps = o.epochs * math.ceil(len(train) / size)
        lr = o.lr * min(max(FULL_COURSE / steps, 1.0), 10.0)
        step = 0
        for _ in range(o.epochs):
            order = rng.permutation(len(train))
            batches = np.split(order, range(size, len(order), size))
            optimizer.zero_grad()
            for piece, x in feed(_pieces(train.samples, batches, o.tiles, rng)):
                logits = network(x, piece.lengths, drop)
                # Summed over networks, which share no parameters: each gets its own gradient.
                losses = _loss(logits, labels[list(piece.patients)], weight).sum()
                torch.autograd.backward(losses / piece.batch)
                if piece.last:
                    for group in optimizer.param_groups:
                        group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
                    optimizer.step()
                    optimizer.zero_grad()
                    step += 1
            # As many tiles as in training: all tiles of each patient would cost more than the epoch.
            held_out = _logits(network, valid.samples, o.tiles, feed).T.contiguous()
            if stopping.update(_loss(held_out, valid_labels, weight).mean(dim=-1)):
                break
        stopping.restore()
        network.base.copy_(_logits(network, train.samples, o.tiles, feed).mean(dim=0))
        return network

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Mean logit over the networks, float32[sample]; each patient is run alone, whatever else is requested."""
        network, scores = self._fitted(samples), np.empty(len(samples), np.float32)
        with _exact():
            for i, (logit, _, _) in enumerate(_run(network, samples, self._options.max_tiles, Feed(self._device))):
                scores[i] = float(logit.mean())
        return scores

    def explain(self, sample: Sample) -> Explanation:
        """Contribution of each tile looked at: a (s - base), mean over the networks; and its attention a.

        a: the tile's attention, s: its score, base: the mean logit of the training patients, all of one network. As
        the attention of a patient sums to 1, the contributions sum to the score minus the mean base.
        """
        network = self._fitted([sample])
        with _exact():
            ((_, e, s),) = _run(network, [sample], self._options.max_tiles, Feed(self._device))
        # In double precision on the CPU: not every accelerator has it.
        attention, s, base = e.cpu().double().softmax(dim=-1), s.cpu().double(), network.base.cpu().double()
        slides, xy = places(sample, evenly(count(sample), self._options.max_tiles))
        return Explanation(
            kind="contribution",
            values=(attention * (s - base[:, None])).mean(dim=0).numpy(),
            base=float(base.mean()),
            slide_ids=slides,
            xy=xy,
            attention=attention.mean(dim=0).numpy(),
        )

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `classifier.json`."""
        network = self._fitted(())
        assert self._source is not None
        state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        save_file(state, folder / "network.safetensors")
        facts = {
            "options": self._options.result_affecting(),
            "seed": self._seed,
            "source": asdict(self._source),
        }
        (folder / "classifier.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path) -> HeClassifier:
        """The classifier that `save` wrote. It scores on the CPU, whatever it was trained on, and thus alike on all
        machines. What training recorded stays."""
        facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        loaded = cls(HeOptions.model_validate(facts["options"]), facts["seed"], torch.device("cpu"))
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
        check_source(samples, self._source)
        return self._network


def _device(name: str) -> torch.device:
    """The device that computes, the first of several; logs once if a GPU is left idle."""
    found = find_device(name)
    if found.unused:
        _say_unused(found.unused)
    return torch.device(found.names[0])


@cache
def _say_unused(why: str) -> None:
    _log.warning("the CPU computes, not this machine's NVIDIA GPU: %s", why)


def _exact() -> ExitStack:
    """A context in which the device computes in true float32, with the same bytes each time."""
    stack = ExitStack()
    stack.enter_context(without_tf32())
    stack.enter_context(deterministic())
    return stack


def _loss(logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy float32[network bag]."""
    return binary_cross_entropy_with_logits(logits, labels.expand_as(logits), pos_weight=weight, reduction="none")


def _pieces(
    samples: Sequence[Sample], batches: Sequence[Index], at_most: int, rng: np.random.Generator
) -> Iterator[Piece]:
    """An epoch: tiles drawn from each patient, batch by batch, in pieces of TILES_AT_ONCE."""
    for batch in batches:
        drawn = [_draw(samples[i], at_most, rng) for i in batch]
        groups = list(_groups([len(d) for d in drawn]))
        for group in groups:
            patients = [int(batch[i]) for i in group]
            yield Piece(
                [samples[i] for i in patients],
                [drawn[i] for i in group],
                last=group is groups[-1],
                patients=patients,
                batch=len(batch),
            )


def _draw(sample: Sample, at_most: int, rng: np.random.Generator) -> Index:
    """A random subset of a patient's tiles, ascending."""
    n = count(sample)
    return np.arange(n) if n <= at_most else np.sort(rng.choice(n, at_most, replace=False))


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Neighboring bags, as many at a time as fit within TILES_AT_ONCE, or one."""
    group: list[int] = []
    for i, length in enumerate(lengths):
        if group and sum(lengths[j] for j in group) + length > TILES_AT_ONCE:
            yield group
            group = []
        group.append(i)
    yield group


def _standard(samples: Sequence[Sample], tiles: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation float32[feature], with equal weight per patient; 1 for a constant feature."""
    moments = np.empty((len(samples), 2, samples[0].bags[0].features.shape[1]))
    for sample, own in zip(samples, moments, strict=True):
        x = gather(sample, evenly(count(sample), tiles)).astype(np.float64)
        own[:] = x.mean(axis=0), (x**2).mean(axis=0)
    mean, square = moments.mean(axis=0)
    variance = square - mean**2
    sd = np.sqrt(np.where(variance > 1e-12 * np.maximum(square, 1e-300), variance, 1.0))
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(sd.astype(np.float32))


@torch.no_grad()
def _run(network: GatedAttention, samples: Sequence[Sample], at_most: int, feed: Feed) -> Iterator[Ran]:
    """Each patient's logit float32[network], and its tiles' attention logits and scores float32[network tile].

    On the network's device, without dropout. `at_most`: tiles looked at, evenly spaced; 0: all.
    """

    def pieces() -> Iterator[Piece]:
        for sample in samples:
            index = evenly(count(sample), at_most)
            for cut in range(0, len(index), TILES_AT_ONCE):
                end = cut + TILES_AT_ONCE
                yield Piece([sample], [index[cut:end]], last=end >= len(index))

    outputs = []
    for piece, x in feed(pieces()):
        outputs.append(network.tiles(x))
        if piece.last:
            e, s = (torch.cat(parts, dim=-1) for parts in zip(*outputs, strict=True))
            outputs.clear()
            yield network.pool(e, s), e, s


def _logits(network: GatedAttention, samples: Sequence[Sample], at_most: int, feed: Feed) -> torch.Tensor:
    """The logits of all samples, float32[sample network], in one array: small arrays that stay would leave holes
    between large ones that are freed, and memory would grow with each patient."""
    found = network.base.new_empty((len(samples), len(network.base)))
    for i, (logit, _, _) in enumerate(_run(network, samples, at_most, feed)):
        found[i] = logit
    return found
