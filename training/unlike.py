"""Which tissue the model `cells` knows: fits its score of being unlike training, and measures it on slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from kras_profiler_cells.network import STRIDE, CellNet
from kras_profiler_cells.unlike import KINDS, WINDOW
from training.augment import MPP, crop, photograph, restain
from training.fields import Field, at_mpp

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64, UInt8

SIDE = WINDOW * STRIDE
"""Side in pixels of the area of one mean: the middle of a sample of this side sees all of it and no edge."""
DRAWS = 800
"""Samples of each kind of image."""
KEPT = 0.95
"""Share of the windows of a kind's left-out fields that are below its limit."""
DRAWN = "synthetic"
"""The kind whose limit is its largest left-out window: it is harmless if a synthetic slide passes as known."""
FOLDS = 5
LEAST_TISSUE = 0.25
"""A window with less tissue says too little, as at the very edge of a slide."""
SEED = 0


def fit(
    network: CellNet, fields: Sequence[Field], left_out: Sequence[Field], draws: int = DRAWS, seed: int = SEED
) -> dict[str, Any]:
    """Set `network.unlike` from those of `fields` with known classes, and return its figures.

    The Gaussians are fitted to samples drawn as for training, so that another stain, focus, scale or file is not
    unlike, and neither is the edge of tissue on glass. The limit of a kind is set on its `left_out` fields. Without
    any, it is set on each of its sources without that source's samples, if there are FOLDS or more, else on all.
    """
    rng = np.random.default_rng([seed, 7])
    typed = [f for f in fields if np.any(f.classes >= 0)]
    kinds = sorted({f.kind for f in typed})
    if not 1 <= len(kinds) <= KINDS:
        raise ValueError(f"{len(kinds)} kinds of typed fields, 1 to {KINDS} are known: {', '.join(kinds)}")
    drawn = {kind: _drawn(network, [f for f in typed if f.kind == kind], draws, rng) for kind in kinds}
    fitted = [gaussian(features) for features, _ in drawn.values()]
    found: dict[str, Float64] = {}
    for kind, (mean, whiten) in zip(kinds, fitted, strict=True):
        own, apart = ([f for f in some if f.kind == kind] for some in (typed, left_out))
        sources = sorted({f.source for f in own})
        if apart or len(sources) < FOLDS:
            found[kind] = _square(np.concatenate([windows(network, f) for f in apart or own]), mean, whiten)
        else:
            folds = [sources[i::FOLDS] for i in range(FOLDS)]
            found[kind] = np.concatenate([_crossed(network, own, *drawn[kind], fold) for fold in folds])
    limits = np.array([np.quantile(found[kind], 1 if kind == DRAWN else KEPT) for kind in kinds], np.float32)
    at = [min(i, len(kinds) - 1) for i in range(KINDS)]  # remaining places repeat the last kind
    means, whitens = (np.stack(values) for values in zip(*fitted, strict=True))
    into = network.unlike
    for buffer, values in ((into.mean, means), (into.whiten, whitens), (into.limit, limits)):
        buffer.copy_(torch.from_numpy(values[at]))
    return {
        "samples": sum(len(features) for features, _ in drawn.values()),
        "limits": {k: {"windows": len(found[k]), "limit": float(v)} for k, v in zip(kinds, limits, strict=True)},
    }


def gaussian(features: Float32) -> tuple[Float32, Float32]:
    """`mean` [channel] and `whiten` [channel channel] of features [sample channel].

    |whiten (x - mean)|² is the squared Mahalanobis distance by their covariance, which is shrunk after Ledoit & Wolf,
    J Multivar Anal 2004;88:365-411.
    """
    found = LedoitWolf().fit(features.astype(np.float64))
    return found.location_.astype(np.float32), np.linalg.cholesky(found.precision_).T.astype(np.float32)


def _square(features: Float32, mean: Float32, whiten: Float32) -> Float64:
    return np.square((features - mean) @ whiten.T, dtype=np.float64).sum(1)


def _crossed(
    network: CellNet, own: Sequence[Field], features: Float32, sources: Sequence[str], fold: Sequence[str]
) -> Float64:
    """Squared distances of the windows of some sources of a kind under the Gaussian of its other samples."""
    mean, whiten = gaussian(features[[source not in fold for source in sources]])
    seen = np.concatenate([windows(network, f) for f in own if f.source in fold])
    return _square(seen, mean, whiten)


def _drawn(
    network: CellNet, fields: Sequence[Field], draws: int, rng: np.random.Generator, batch: int = 16
) -> tuple[Float32, list[str]]:
    """Mean features of samples float32[sample channel], and the source of each."""
    features, sources = [], []
    for _ in range(0, draws, batch):
        chosen = [fields[rng.integers(len(fields))] for _ in range(batch)]
        samples = [photograph(on_glass(restain(crop(f, rng, SIDE)[0], rng), rng), rng) for f in chosen]
        around, tissue = _around(network, np.stack(samples))
        middle = WINDOW // 2
        kept = tissue[:, 0, middle, middle] >= LEAST_TISSUE
        features.append(around[kept, :, middle, middle])
        sources += [f.source for f, keep in zip(chosen, kept, strict=True) if keep]
    return np.concatenate(features), sources


def on_glass(pixels: UInt8, rng: np.random.Generator) -> UInt8:
    """Sometimes give tissue gaps and edges: training fields have none, slides do."""
    if rng.random() < 0.6:
        return pixels
    rough = ndimage.gaussian_filter(rng.standard_normal(pixels.shape[:2], np.float32), rng.uniform(5, 60))
    gone = ndimage.gaussian_filter((rough > np.quantile(rough, rng.uniform(0.3, 0.9))).astype(np.float32), 1.0)
    light = rng.uniform(232, 252) + rng.normal(0, 1.5, pixels.shape)
    return np.clip(pixels + gone[..., None] * (light - pixels), 0, 255).astype(np.uint8)


def windows(network: CellNet, field: Field) -> Float32:
    """Mean features float32[window channel] of all windows of a field, unchanged, that contain enough tissue."""
    pixels = at_mpp(field, MPP).pixels
    h, w = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -h % STRIDE), (0, -w % STRIDE), (0, 0)), mode="symmetric")
    around, tissue = _around(network, padded[None])
    return around[0][:, tissue[0, 0] >= LEAST_TISSUE].T


def _around(network: CellNet, tiles: UInt8) -> tuple[Float32, Float32]:
    with torch.inference_mode():
        pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float()
        around, tissue = network.unlike.around(network.computed(pixels)[2], pixels)
    return around.numpy(), tissue.numpy()


def scores(network: CellNet, field: Field) -> Float64:
    """d² of each window of a field that contains enough tissue, 1 at the limit of the nearest kind."""
    seen, known = windows(network, field), network.unlike
    kinds = zip(known.mean.numpy(), known.whiten.numpy(), known.limit.numpy(), strict=True)
    return np.min([_square(seen, mean, whiten) / limit for mean, whiten, limit in kinds], axis=0)


def figures(
    network: CellNet, like: Mapping[str, Sequence[Field]], unlike: Mapping[str, Sequence[Field]]
) -> dict[str, Any]:
    """How well windows of `like` and `unlike` tissue are separated, by name of what they show.

    For each: windows, share above the limit, median d²; for each unlike one the AUROC against all that are like.
    """
    out: dict[str, Any] = {}
    known = {name: np.concatenate([scores(network, f) for f in fields]) for name, fields in like.items()}
    usual = np.concatenate(list(known.values()))
    foreign = {name: np.concatenate([scores(network, f) for f in fields]) for name, fields in unlike.items()}
    for name, found in {**known, **foreign}.items():
        out[name] = {"windows": len(found)}
        if len(found):
            out[name] |= {"share above": float(np.mean(found > 1)), "median": float(np.median(found))}
        if name in foreign and len(found):
            truth = np.repeat([0, 1], [len(usual), len(found)])
            out[name]["auroc"] = float(roc_auc_score(truth, np.concatenate([usual, found])))
    return out
