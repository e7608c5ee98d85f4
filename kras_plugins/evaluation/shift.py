"""How an external cohort differs from the one a bundle was trained on, each difference with its warning limit.

Training is summarized in plain numbers when the bundle is made, and in digests of inputs, from which nothing can be
read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.bags import slabs
from kras_plugins.data import of_extractor, split_extractor
from kras_plugins.evaluation.histology import histology_groups
from kras_plugins.manifest import stated_parts

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Bag, Float64, Sample

MPP_SHIFT = 0.05
"""Median resolutions that differ by more than 5 %."""
STAIN_SHIFT = 0.10
"""A mean optical density of tissue that differs by more than 10 %."""
P_SHIFT = 0.05
"""A share, such as the prevalence, with a two-sided Fisher's exact p below 5 %."""
FEATURE_SHIFT, FEATURE_SHARE, BY_CHANCE = 0.5, 0.10, 3.0
"""More than a tenth of the features whose median moved by more than half of training's spread and by more than three of
its standard errors."""

_HEAD = 16
"""Digits of each slide's digest that are kept: enough to recognize it."""


def training_summary(
    samples: Sequence[Sample],
    labels: npt.ArrayLike,
    histologies: Sequence[str | None],
    mpp: Sequence[float],
    stain: Sequence[Sequence[float]] = (),
    content: Sequence[Sequence[str]] = (),
) -> dict[str, Any]:
    """What a cohort looks like, as plain JSON values: for a bundle's facts, and for comparison with them.

    `mpp`: µm per pixel of each slide if known; `stain`: mean optical density of each slide's tissue in red, green and
    blue; `content`: digests of each patient's slides, of which the beginning is kept, so that patients who come again
    are noticed. Features by name: median, quartiles and number missing over patients; encoder dimensions: mean and
    standard deviation of patients' mean tile features.
    """
    groups = histology_groups(histologies)
    y = np.asarray(labels) > 0
    summary: dict[str, Any] = {
        "n": len(y),
        "n_positive": int(y.sum()),
        "histology": {"adenocarcinoma": groups.count("adenocarcinoma"), "other": groups.count("other")},
        "mpp": _quantiles(np.array(mpp, np.float64)),
        "content": sorted(sorted(digest[:_HEAD] for digest in own) for own in content),
        "stain": [_quantiles(channel) for channel in np.array(stain, np.float64).reshape(-1, 3).T] if stain else None,
    }
    profiles = [s.profile for s in samples if s.profile is not None]
    if profiles:
        values = np.stack([p.values for p in profiles])
        summary["features"] = {name: _quantiles(values[:, i]) for i, name in enumerate(profiles[0].names)}
    for extractor in dict.fromkeys(bag.extractor for s in samples for bag in s.bags):
        bags = [[b for b in s.bags if b.extractor == extractor] for s in samples]
        means = [np.mean([_mean_tile(b) for b in own], axis=0) for own in bags if own]
        stacked = np.stack(means)
        summary[of_extractor("encoder", extractor)] = {
            "n": len(means),
            "mean": _rounded(stacked.mean(0)),
            "sd": _rounded(stacked.std(0)),
        }
    return summary


def _mean_tile(bag: Bag) -> Float64:
    """Mean features of a bag's tiles, float64[feature]."""
    total: Float64 = np.sum([slab.sum(axis=0, dtype=np.float64) for slab in slabs(bag)], axis=0)
    return total / len(bag.features)


def shift_rows(internal: Mapping[str, Any], external: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of `external.shift` in metrics.json from two summaries: numbers, and a sentence if they differ."""
    rows = [_mpp(internal.get("mpp"), external.get("mpp")), *_stain(internal.get("stain"), external.get("stain"))]
    rows.append(_again(internal.get("content", ()), external.get("content", ())))
    rows.append(_share("prevalence", "positive", _positive(internal), _positive(external)))
    rows.append(_share("histology", "adenocarcinoma", _luad(internal), _luad(external)))
    rows.append(_features(internal.get("features"), external.get("features")))
    encoders = [key for key in internal if split_extractor(key)[0] == "encoder"]
    rows += [_encoder(key, internal.get(key), external.get(key)) for key in encoders]
    return [row for row in rows if row is not None]


def identity_rows(internal: Mapping[str, Any], external: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Shift of what made the inputs, from the facts of parts: encoder, profiler, their versions and the precision.

    Other weights were refused earlier; this reports what may differ.
    """
    rows = []
    ours, theirs = stated_parts(internal), stated_parts(external)
    for key in sorted({*ours, *theirs}):
        a, b = ours.get(key, {}), theirs.get(key, {})
        rows.append(_same(key, *(f"{x.get('name', 'none')} {x.get('version', '')}".strip() for x in (a, b))))
    rows.append(_same("precision", str(internal.get("precision") or "none"), str(external.get("precision") or "none")))
    return rows


def external_block(told: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """`external` of metrics.json: `told` has `internal`, `internal_luad_only`, `shift`; `table`: the models here.

    `fold_ensembled`: AUROC of the mean logit over fold models, `fold_mean`: mean of the AUROCs of single fold models.
    """
    ours = {name: entry["auroc"] for name, entry in table.items()}
    return {
        **{key: value for key, value in told.items() if key != "shift"},
        "fold_mean": {name: {"value": a["fold_mean"]} for name, a in ours.items() if _known(a.get("fold_mean"))},
        "fold_ensembled": {name: {k: a[k] for k in ("value", "low", "high")} for name, a in ours.items()},
        "shift": told["shift"],
    }


def internal_results(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a bundle keeps of the metrics of its run: each model's AUROC with n, for all and for adenocarcinoma only."""

    def kept(table: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {**{k: m["auroc"][k] for k in ("value", "low", "high")}, "n": m["n"], "n_positive": m["n_positive"]}
            for name, m in table.items()
        }

    return {"models": kept(metrics["models"]), "luad_only": kept(metrics["luad_only"])}


def seen_again(internal: Sequence[Sequence[str]], content: Sequence[Sequence[str]]) -> list[bool]:
    """Whether each patient was in training. `internal`: `content` of `training_summary`; `content`: each one's digests.

    A patient is recognized by any slide, under any name.
    """
    known = {digest for own in internal for digest in own}
    return [not known.isdisjoint(digest[:_HEAD] for digest in own) for own in content]


def _again(a: Sequence[Sequence[str]], b: Sequence[Sequence[str]]) -> dict[str, Any] | None:
    if not a or not b:
        return None
    seen = sum(seen_again(a, b))
    warning = f"{seen} of {len(b)} patients were in training: results here are too good" if seen else ""
    return _row("patients seen in training", 0, seen, seen, warning)


def _mpp(a: Any, b: Any) -> dict[str, Any] | None:
    if not a or not b:
        return None
    ratio = b["median"] / a["median"]
    limit = f"warned beyond {MPP_SHIFT:.0%}"
    warning = ""
    if abs(ratio - 1) > MPP_SHIFT:
        warning = f"slides have {b['median']:.3g} µm per pixel here, {a['median']:.3g} in training ({limit})"
    return _row("mpp (median)", a["median"], b["median"], b["median"] - a["median"], warning)


def _stain(a: Any, b: Any) -> list[dict[str, Any]]:
    rows = []
    for i, color in enumerate(("red", "green", "blue") if a and b else ()):
        one, other = a[i]["median"], b[i]["median"]
        warning = ""
        if one > 0 and abs(other / one - 1) > STAIN_SHIFT:
            warning = (
                f"tissue is {'darker' if other > one else 'paler'} in {color} than in training: optical density "
                f"{other:.3f} against {one:.3f} (warned beyond {STAIN_SHIFT:.0%})"
            )
        rows.append(_row(f"stain, {color} (optical density)", one, other, other - one, warning))
    return rows


def _share(what: str, noun: str, a: tuple[int, int] | None, b: tuple[int, int] | None) -> dict[str, Any] | None:
    if a is None or b is None:
        return None
    from scipy.stats import fisher_exact

    p = float(fisher_exact([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]]).pvalue)
    one, other = a[0] / a[1], b[0] / b[1]
    warning = ""
    if p < P_SHIFT:
        warning = (
            f"{other:.1%} are {noun} here ({b[0]} of {b[1]}), {one:.1%} in training ({a[0]} of {a[1]}; "
            f"Fisher's p {p:.2g}, warned below {P_SHIFT:g})"
        )
        if what == "prevalence":
            warning += ": probabilities and predictive values do not carry over"
    return _row(f"{what} (share {noun})", one, other, other - one, warning)


def _features(a: Any, b: Any) -> dict[str, Any] | None:
    names = [n for n in a or () if n in (b or {}) and a[n] and b[n]]
    if not names:
        return None
    spread = np.array([a[n]["q75"] - a[n]["q25"] for n in names])
    apart = np.array([abs(b[n]["median"] - a[n]["median"]) for n in names])
    relative = np.divide(apart, spread, out=np.where(apart > 0, np.inf, 0.0), where=spread > 0)
    # The standard error of a median of normal values is 1.25 sd/√n, and sd is the spread over 1.35.
    chance = np.array([BY_CHANCE * 0.93 * math.sqrt(1 / a[n]["n"] + 1 / b[n]["n"]) for n in names])
    moved = relative > np.maximum(FEATURE_SHIFT, chance)
    far = [names[i] for i in np.argsort(-relative) if moved[i]][:5]
    warning = ""
    if moved.mean() > FEATURE_SHARE:
        warning = (
            f"the median of {int(moved.sum())} of {len(names)} features lies more than {FEATURE_SHIFT:g} interquartile "
            f"ranges from training's, most of all {', '.join(far)} (warned beyond {FEATURE_SHARE:.0%} of features)"
        )
    return _row("features (share that moved)", 0.0, float(moved.mean()), float(moved.mean()), warning)


def _encoder(key: str, a: Any, b: Any) -> dict[str, Any] | None:
    if not a or not b or len(a["mean"]) != len(b["mean"]):
        return None
    sd = np.maximum(np.array(a["sd"]), 1e-12)
    apart = np.abs(np.array(b["mean"]) - np.array(a["mean"])) / sd
    moved = apart > max(FEATURE_SHIFT, BY_CHANCE * math.sqrt(1 / a["n"] + 1 / b["n"]))
    warning = ""
    if moved.mean() > FEATURE_SHARE:
        warning = (
            f"the mean of {int(moved.sum())} of {len(moved)} {key} dimensions lies more than {FEATURE_SHIFT:g} "
            "standard deviations and three standard errors from training's (warned beyond "
            f"{FEATURE_SHARE:.0%} of dimensions)"
        )
    return _row(f"{key} (share of dimensions that moved)", 0.0, float(moved.mean()), float(moved.mean()), warning)


def _same(what: str, internal: str, external: str) -> dict[str, Any]:
    warning = "" if internal == external else f"{what} is {external} here, {internal} in training"
    return {"what": what, "internal": internal, "external": external, "difference": None, "warning": warning}


def _row(what: str, internal: float, external: float, difference: float, warning: str) -> dict[str, Any]:
    return {"what": what, "internal": internal, "external": external, "difference": difference, "warning": warning}


def _positive(summary: Mapping[str, Any]) -> tuple[int, int] | None:
    return (summary["n_positive"], summary["n"]) if summary.get("n") else None


def _luad(summary: Mapping[str, Any]) -> tuple[int, int] | None:
    found = summary.get("histology") or {}
    n = sum(found.values())
    return (found["adenocarcinoma"], n) if n else None


def _quantiles(values: Float64) -> dict[str, Any] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, middle, high = np.percentile(known, [25, 50, 75]).tolist()
    return {"n": len(known), "missing": len(values) - len(known), "q25": low, "median": middle, "q75": high}


def _rounded(values: Float64) -> list[float]:
    return [float(f"{v:.5g}") for v in values.tolist()]


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
