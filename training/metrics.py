"""How good found nuclei are: F1 at IoU 0.5, AJI, PQ and F1 per class, with bootstrap intervals over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bool, Float64, Int32

    Index = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Which found nucleus matches which true one, at IoU > 0.5: then no nucleus has two partners.

    `truth`, `found`: int64[pair], labels; `iou`: float64[pair].
    """

    truth: Index
    found: Index
    iou: Float64


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Areas of two label maps: int64[truth + 1, found + 1] common pixels, index 0 is outside of nuclei."""

    common: Index

    @property
    def iou(self) -> Float64:
        """float64[truth, found], nuclei only."""
        union = self.truth[:, None] + self.found[None, :] - self.common[1:, 1:]
        return np.asarray(self.common[1:, 1:] / np.maximum(union, 1), dtype=np.float64)

    @property
    def truth(self) -> Index:
        """Area of each true nucleus."""
        return np.asarray(self.common.sum(1)[1:])

    @property
    def found(self) -> Index:
        """Area of each found nucleus."""
        return np.asarray(self.common.sum(0)[1:])


def overlap(truth: Int32, found: Int32) -> Overlap:
    """Common areas of two label maps int32[h w] with labels 1..n (gaps are nuclei of no area)."""
    n = int(found.max(initial=0)) + 1
    m = int(truth.max(initial=0)) + 1
    counts = np.bincount(truth.ravel().astype(np.int64) * n + found.ravel(), minlength=m * n)
    return Overlap(common=counts.reshape(m, n))


def pair(areas: Overlap, least: float = 0.5) -> Pairs:
    """Pairs of nuclei whose intersection over union exceeds `least` (0.5 or more)."""
    iou = areas.iou
    t, f = np.nonzero(iou > least)
    return Pairs(truth=t + 1, found=f + 1, iou=iou[t, f])


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Sums over one image or block, from which every score follows; tallies add up.

    `tp`, `fp`, `fn` nuclei, `iou` summed over pairs; `inter`, `union` are AJI's pixels. `typed`: int64[class, 3] tp,
    fp, fn of nuclei found with the right class; `among`: int64[true class, given class + 1], paired nuclei of a known
    class; the last column counts those given another word. `common`: pixels of nuclei in both maps; `covered`: pixels
    in one plus those in the other.
    """

    tp: int
    fp: int
    fn: int
    iou: float
    inter: int
    union: int
    typed: Index
    among: Index
    common: int = 0
    covered: int = 0


def tally(
    truth: Int32,
    found: Int32,
    true_class: Index,
    found_class: Index,
    counted_truth: Bool,
    counted_found: Bool,
    n_classes: int,
    counted_pixels: Bool | None = None,
) -> Tally:
    """Compare two label maps.

    `true_class`, `found_class`: int64[label + 1], -1 where unknown or no class. `counted_*`: bool[label + 1]:
    those that belong to the scored block; the others may be partners but are not counted themselves.
    `counted_pixels`: bool[h w], those that count for Dice; None: all.

    AJI after Kumar et al., IEEE Trans Med Imaging 2017;36:1550-1560: each true nucleus takes the found one with the
    largest IoU, whatever it is; unmatched found ones add to the union.
    """
    pixels = np.ones(truth.shape, bool) if counted_pixels is None else counted_pixels
    areas = overlap(truth, found)
    n_truth, n_found = areas.truth, areas.found
    pairs = pair(areas)
    is_truth = counted_truth[1 : len(n_truth) + 1] & (n_truth > 0)
    is_found = counted_found[1 : len(n_found) + 1] & (n_found > 0)
    partner_of_truth = np.zeros(len(n_truth) + 1, np.int64)
    partner_of_truth[pairs.truth] = pairs.found
    partner_of_found = np.zeros(len(n_found) + 1, np.int64)
    partner_of_found[pairs.found] = pairs.truth

    mine = counted_truth[pairs.truth]
    iou = areas.iou
    best = iou.argmax(1) if len(n_found) else np.zeros(len(n_truth), np.int64)
    hit = np.zeros(len(n_truth), bool) if not len(n_found) else iou.max(1) > 0
    taken = np.zeros(len(n_found), bool)
    taken[best[hit]] = True
    common = areas.common[1:, 1:]
    inter = union = 0
    for t in np.flatnonzero(is_truth):
        shared = int(common[t, best[t]]) if hit[t] else 0
        inter += shared
        union += int(n_truth[t]) + (int(n_found[best[t]]) if hit[t] else 0) - shared
    union += int(n_found[is_found & ~taken].sum())

    typed = np.zeros((n_classes, 3), np.int64)
    among = np.zeros((n_classes, n_classes + 1), np.int64)
    for t in np.flatnonzero(is_truth) + 1:
        wanted = int(true_class[t])
        if wanted < 0:
            continue
        other = int(partner_of_truth[t])
        given = int(found_class[other]) if other else -1
        if other:
            among[wanted, given if given >= 0 else n_classes] += 1
        typed[wanted, 0 if given == wanted else 2] += 1
    for f in np.flatnonzero(is_found) + 1:
        given, other = int(found_class[f]), int(partner_of_found[f])
        if given >= 0 and (not other or int(true_class[other]) != given):
            typed[given, 1] += 1
    return Tally(
        tp=int(np.count_nonzero(mine)),
        fp=int(np.count_nonzero(is_found & (partner_of_found[1:] == 0))),
        fn=int(np.count_nonzero(is_truth & (partner_of_truth[1:] == 0))),
        iou=float(pairs.iou[mine].sum()),
        inter=inter,
        union=union,
        typed=typed,
        among=among,
        common=int(np.count_nonzero((truth > 0) & (found > 0) & pixels)),
        covered=int(np.count_nonzero((truth > 0) & pixels) + np.count_nonzero((found > 0) & pixels)),
    )


def nearest_pairs(truth: Float64, found: Float64, reach: float) -> tuple[Index, Index]:
    """(indices of `truth`, indices of `found`) of matching points (x, y): nearest first, each once, within `reach`."""
    near = cKDTree(truth).sparse_distance_matrix(cKDTree(found), reach, output_type="ndarray")
    free_truth, free_found = np.ones(len(truth), bool), np.ones(len(found), bool)
    pairs = []
    for i, j, _ in np.sort(near, order=["v", "i", "j"]).tolist():
        if free_truth[i] and free_found[j]:
            free_truth[i] = free_found[j] = False
            pairs.append((i, j))
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def tally_of_pairs(true_class: Index, given: Index, truth: Index, found: Index, n_classes: int) -> Tally:
    """The tally of points `true_class` int64[truth] and `given` int64[found]; `truth` and `found` are their pairs.

    -1: no class. Overlaps are unknown, so that AJI, PQ and Dice are NaN or meaningless.
    """
    typed = np.zeros((n_classes, 3), np.int64)
    among = np.zeros((n_classes, n_classes + 1), np.int64)
    for c in range(n_classes):
        right = int(np.count_nonzero((true_class[truth] == c) & (given[found] == c)))
        typed[c] = right, np.count_nonzero(given == c) - right, np.count_nonzero(true_class == c) - right
    for wanted, got in zip(true_class[truth].tolist(), given[found].tolist(), strict=True):
        if wanted >= 0:
            among[wanted, got if got >= 0 else n_classes] += 1
    return Tally(
        tp=len(truth),
        fp=len(given) - len(truth),
        fn=len(true_class) - len(truth),
        iou=float("nan"),
        inter=0,
        union=0,
        typed=typed,
        among=among,
    )


def add(tallies: Sequence[Tally]) -> Tally:
    """Sum of tallies."""
    return Tally(
        tp=sum(t.tp for t in tallies),
        fp=sum(t.fp for t in tallies),
        fn=sum(t.fn for t in tallies),
        iou=sum(t.iou for t in tallies),
        inter=sum(t.inter for t in tallies),
        union=sum(t.union for t in tallies),
        typed=np.sum([t.typed for t in tallies], axis=0),
        among=np.sum([t.among for t in tallies], axis=0),
        common=sum(t.common for t in tallies),
        covered=sum(t.covered for t in tallies),
    )


def scores(total: Tally, classes: Sequence[str]) -> dict[str, float]:
    """Scores by name, NaN where there was nothing to score.

    `f1`, `aji`, `pq` (Kirillov et al., CVPR 2019) are pooled over what was tallied. `f1 NAME`: a nucleus counts when it
    is found (IoU > 0.5) and given its class; every other nucleus given that class is a false positive, paired or not.
    `f1 lymphocyte/tumor`: the mean of those two. `typing lymphocyte/tumor`: the same mean over paired nuclei of these
    two classes alone, which measures typing given correct detection.
    """
    out = {
        "f1": _f1(total.tp, total.fp, total.fn),
        "aji": total.inter / total.union if total.union else float("nan"),
        "pq": total.iou / (total.tp + (total.fp + total.fn) / 2) if total.tp + total.fp + total.fn else float("nan"),
        "precision": total.tp / (total.tp + total.fp) if total.tp + total.fp else float("nan"),
        "recall": total.tp / (total.tp + total.fn) if total.tp + total.fn else float("nan"),
        "dice": 2 * total.common / total.covered if total.covered else float("nan"),
    }
    known = total.typed[:, 0] + total.typed[:, 2] > 0
    for i, name in enumerate(classes):
        out[f"f1 {name}"] = _f1(*total.typed[i].tolist()) if known[i] else float("nan")
    both = [classes.index("lymphocyte"), classes.index("tumor")]
    out["f1 lymphocyte/tumor"] = float(np.mean([out[f"f1 {classes[i]}"] for i in both]))
    part = total.among[both]
    each = [_f1(part[k, c], part[1 - k, c], part[k].sum() - part[k, c]) for k, c in enumerate(both)]
    out["typing lymphocyte/tumor"] = float(np.mean(each))
    return out


def bootstrap(
    tallies: Sequence[Tally], classes: Sequence[str], draws: int = 1000, seed: int = 0
) -> Mapping[str, tuple[float, float, float]]:
    """(value, low, high) of every score: 95 % percentile interval over images or blocks drawn with replacement."""
    value = scores(add(tallies), classes)
    rng = np.random.default_rng(seed)
    drawn = [
        scores(add([tallies[i] for i in rng.integers(0, len(tallies), len(tallies))]), classes) for _ in range(draws)
    ]
    out = {}
    for name, v in value.items():
        several = np.array([d[name] for d in drawn])
        several = several[np.isfinite(several)]
        low, high = np.percentile(several, [2.5, 97.5]) if len(several) else (np.nan, np.nan)
        out[name] = (v, float(low), float(high))
    return out


def _f1(tp: float, fp: float, fn: float) -> float:
    return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else float("nan")
