"""Calibrated class probabilities by temperature scaling (Guo et al., ICML 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from kras_profiler_cells.network import CLASS_STEP, STRIDE, CellNet
from training.augment import MPP
from training.fields import Field, at_mpp, in_box

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float32, Float64

    Index = npt.NDArray[np.int64]

BINS = 10
LEAST, MOST = 0.2, 10.0
"""Bounds of the search for the temperature."""


@dataclass(frozen=True, kw_only=True)
class Typed:
    """Nuclei of known class, and a network's logits for their pixels.

    `logits` float32[pixel class] and `nucleus` int64[pixel], the nucleus that each pixel of the class maps belongs to;
    `labels` int64[nucleus]: the true class; `kind` of each nucleus: the kind of its image.
    """

    logits: Float32
    nucleus: Index
    labels: Index
    kind: tuple[str, ...]

    def of(self, chosen: Bool) -> Typed:
        """Some of the nuclei."""
        number = np.cumsum(chosen) - 1
        inside = chosen[self.nucleus]
        return replace(
            self,
            logits=self.logits[inside],
            nucleus=number[self.nucleus[inside]],
            labels=self.labels[chosen],
            kind=tuple(np.array(self.kind)[chosen]),
        )


def fit(network: CellNet, left_out: Sequence[Field]) -> dict[str, Any]:
    """Set `network.temperature` on fields that it never saw, and return the figures of `calibrated`.

    It stays 1 if the temperature fitted on the other kinds does not reduce a kind's error on average.
    """
    typed = typed_nuclei(network, left_out)
    found = temperature(typed)
    kinds = calibrated(typed, found)
    gains = [k["error before"] - k.get("error as the others set it", k["error after"]) for k in kinds.values()]
    used = found if np.mean(gains) > 0 else 1.0
    network.temperature.fill_(used)
    return {"temperature": found, "used": used, "kinds": kinds}


def typed_nuclei(network: CellNet, fields: Sequence[Field]) -> Typed:
    """The nuclei of known class that are scored, in fields at any resolution; logits without any temperature."""
    logits, nucleus, labels, kind = [], [], [], []
    for field in fields:
        shown = at_mpp(field, MPP)
        h, w = shown.labels.shape
        padded = np.pad(shown.pixels, ((0, -h % STRIDE), (0, -w % STRIDE), (0, 0)), mode="symmetric")
        with torch.inference_mode():
            maps = network.logits(torch.from_numpy(padded[None]))[1][0].numpy()
        coarse = shown.labels[::CLASS_STEP, ::CLASS_STEP]
        maps = maps[:, : coarse.shape[0], : coarse.shape[1]]
        n = int(shown.labels.max(initial=0)) + 1
        known = (
            (shown.classes[:n] >= 0)
            & in_box(shown.centers, shown.scored)
            & (np.bincount(coarse.ravel(), minlength=n) > 0)
        )
        number = np.cumsum(known) - 1 + len(labels)
        inside = known[coarse]
        logits.append(maps[:, inside].T)
        nucleus.append(number[coarse[inside]])
        labels += shown.classes[:n][known].tolist()
        kind += [field.kind] * int(known.sum())
    return Typed(
        logits=np.concatenate(logits),
        nucleus=np.concatenate(nucleus).astype(np.int64),
        labels=np.array(labels, np.int64),
        kind=tuple(kind),
    )


def probabilities(typed: Typed, temperature: float) -> Float64:
    """The decoder's probabilities for each nucleus: the mean over its pixels, float64[nucleus class]."""
    each = softmax(typed.logits.astype(np.float64) / temperature, axis=1)
    n = len(typed.labels)
    sums = np.stack([np.bincount(typed.nucleus, weights=column, minlength=n) for column in each.T], axis=1)
    return np.asarray(sums / sums.sum(1, keepdims=True))


def temperature(typed: Typed) -> float:
    """The divisor of logits with the least negative log likelihood of the nuclei, with equal weight per kind."""
    _, kind, counts = np.unique(typed.kind, return_inverse=True, return_counts=True)
    weight = 1 / counts[kind]

    def loss(log: float) -> float:
        right = probabilities(typed, float(np.exp(log)))[np.arange(len(typed.labels)), typed.labels]
        return float(-np.sum(weight * np.log(np.maximum(right, 1e-12))))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded").x))


def calibration_error(probability: Float64, labels: Index, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence is from accuracy in each of `bins` of equal width, on average."""
    confidence, right = probability.max(1), probability.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = [abs(float(np.sum(right[which == b] - confidence[which == b]))) for b in range(bins)]
    return sum(gaps) / max(len(labels), 1)


def calibrated(typed: Typed, chosen: float) -> dict[str, Any]:
    """For each kind of image: nuclei, accuracy, and calibration error before, after and as the others set it."""
    out: dict[str, Any] = {}
    for kind in sorted(set(typed.kind)):
        own = np.array(typed.kind) == kind
        some = typed.of(own)
        entry: dict[str, Any] = {"nuclei": len(some.labels)}
        entry["accuracy"] = float(np.mean(probabilities(some, 1.0).argmax(1) == some.labels))
        told = {"before": 1.0, "after": chosen}
        if not own.all():
            told["as the others set it"] = temperature(typed.of(~own))
        for name, t in told.items():
            entry[f"error {name}"] = calibration_error(probabilities(some, t), some.labels)
        out[kind] = entry
    return out
