"""Curves of the study report, each an SVG element as text: ROC, precision and recall, calibration, net benefit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.report.curves import Bin, ScoreColumns, mean_precision, mean_roc, reliability
from kras_plugins.report.style import (
    BLUE,
    GREY,
    INK,
    NARROW,
    above,
    draw_svg,
    is_baseline,
    line_style,
    model_label,
    model_order,
    say,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kras_plugins.data import Float64

_SQUARE = (NARROW, 4.8)
_DASHED = (0, (4, 3))


def roc_plot(scores: ScoreColumns) -> str:
    """The mean ROC curve within folds of every model; baselines dotted."""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=_DASHED)
        for position, name in enumerate(model_order(scores.by_model)):
            curve = mean_roc(scores.label, scores.ranks[name], scores.fold)
            if curve is not None and name != "prevalence":
                _curve(ax, name, position, curve)
        ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="1 − specificity", ylabel="Sensitivity", aspect="equal")
        above(figure)
        if not figure.legends:
            say(ax, "no fold has both labels")

    return draw_svg("roc", _SQUARE, paint)


def precision_plot(scores: ScoreColumns) -> str:
    """Precision over recall of every model, the mean over repeats, beside the prevalence."""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        repeats = [repeat for repeat, _ in scores.fold]
        top = 0.0
        for position, name in enumerate(model_order(scores.by_model)):
            if is_baseline(name):
                continue
            curve = mean_precision(scores.label, scores.by_model[name], repeats)
            if curve is not None:
                _curve(ax, name, position, curve)
                # The first few patients of a ranking may all be positive; they must not squeeze the rest.
                top = max(top, *curve[1][curve[0] >= 0.05])
        if len(scores.label):
            share = float(scores.label.mean())
            ax.axhline(share, color=INK, lw=0.8, ls=_DASHED, label=f"share of positives ({100 * share:.1f} %)")
            top = max(top, share)
        ax.set(xlim=(0, 1), ylim=(0, min(1.02, max(1.25 * top, 0.05))), xlabel="Recall (sensitivity)")
        ax.set_ylabel("Precision (PPV)")
        above(figure)
        if not ax.lines:
            say(ax, "no scores")

    return draw_svg("precision", _SQUARE, paint)


def calibration_plot(scores: ScoreColumns, model: str, calibration: Mapping[str, Any] | None) -> str:
    """Observed share against predicted probability of one model, with intervals.

    From `calibration["reliability"]` of metrics.json; where a run has none, binned here from the first repeat with
    Wilson intervals.
    """
    rows = scores.first_repeat & np.isfinite(scores.by_model[model])
    label = scores.label[rows]
    bins = _stated(calibration) or reliability(label, scores.by_model[model][rows])

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        if not bins:
            say(ax, "no scores")
            return
        end = min(1.0, 1.1 * max(max(b.high, b.predicted) for b in bins))
        ax.plot([0, end], [0, end], color=GREY, lw=0.8, ls=_DASHED, label="perfect calibration")
        if len(label):
            share = float(label.mean())
            ax.axhline(share, color=GREY, lw=0.8, ls=":", label=f"share of positives ({100 * share:.1f} %)")
        x, y = np.array([b.predicted for b in bins]), np.array([b.observed for b in bins])
        bars = np.array([[b.observed - b.low for b in bins], [b.high - b.observed for b in bins]])
        ax.errorbar(x, y, np.maximum(bars, 0), fmt="o", color=BLUE, ms=5, lw=1.2, capsize=2, label=model_label(model))
        ax.set(xlim=(0, end), ylim=(0, end), aspect="equal")
        ax.set(xlabel="Mean calibrated probability", ylabel="Observed share of positives")
        above(figure)

    return draw_svg("calibration", _SQUARE, paint)


def decision_plot(curves: Mapping[str, Any], name: str) -> str:
    """Net benefit of every model against testing all and testing none (Vickers & Elkin 2006); "" without curves."""
    thresholds, models = curves.get("thresholds") or [], _models(curves.get("models"))
    x = 100 * _numbers(thresholds)
    if not models or len(np.unique(x[np.isfinite(x)])) < 2:
        return ""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        everyone = _numbers(curves.get("test_all") or [])
        heights = []
        if len(everyone) == len(x):
            ax.plot(x, everyone, color=INK, lw=1.4, ls=_DASHED, label="sequence all")
            heights.append(everyone)
        ax.axhline(0, color=INK, lw=0.8, label="sequence none")
        for position, model in enumerate(model_order(models)):
            benefit = _numbers(models[model])
            # The prevalence alone means sequencing all below it and none above; both lines are drawn already.
            if model != "prevalence" and len(benefit) == len(x) and np.isfinite(benefit).any():
                _curve(ax, model, position, (x, benefit))
                heights.append(benefit)
        best = max((float(np.nanmax(h)) for h in heights if np.isfinite(h).any()), default=0.05)
        best = max(best, 0.005)
        ax.set(xlim=(np.nanmin(x), np.nanmax(x)), ylim=(-0.35 * best, 1.08 * best))
        ax.set(xlabel="Threshold probability, %", ylabel="Net benefit")
        above(figure)

    return draw_svg(name, (NARROW, 4.2), paint)


def benefit_plot(rows: Sequence[tuple[float, Mapping[str, Any]]]) -> str:
    """Net benefit of sequencing all except those ruled out, minus that of sequencing all, with intervals, or "".

    `rows`: (risk, estimate of the difference).
    """
    known = [(100 * t, *(float(d[k]) for k in ("value", "low", "high"))) for t, d in rows if _whole(d)]
    if not known:
        return ""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        x, value, low, high = np.array(known).T
        ax.axhline(0, color=INK, lw=0.8)
        bars = np.maximum([value - low, high - value], 0)
        ax.errorbar(x, value, bars, fmt="o", color=BLUE, ms=5, lw=1.2, capsize=2)
        reach = 1.4 * max(np.abs(low).max(), np.abs(high).max(), 1e-4)
        ax.set(ylim=(-reach, reach), xlabel="Risk from which one would sequence, %", ylabel="Gain in net benefit")
        for at, side, which in ((0.97, "top", "ruling out"), (0.03, "bottom", "sequencing all")):
            word = f"{which} is worth more"
            ax.text(0.98, at, word, ha="right", va=side, transform=ax.transAxes, color=GREY)

    return draw_svg("benefit", (NARROW, 3.2), paint)


def _whole(found: Mapping[str, Any]) -> bool:
    return all(found.get(key) is not None for key in ("value", "low", "high"))


def _models(value: object) -> dict[str, Sequence[Any]]:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {name: curve for name, curve in pairs if isinstance(curve, list | tuple)}


def _numbers(values: Sequence[Any]) -> Float64:
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)


def _stated(calibration: Mapping[str, Any] | None) -> list[Bin]:
    bins = []
    for row in (calibration or {}).get("reliability") or ():
        observed = (row or {}).get("observed") or {}
        stated = [(row or {}).get("predicted"), *(observed.get(key) for key in ("value", "low", "high"))]
        numbers = [float(number) for number in stated if number is not None]
        if len(numbers) == len(stated):
            predicted, value, low, high = numbers
            bins.append(Bin(predicted, value, low, high, int(row.get("n") or 0)))
    return bins


def _curve(ax: Axes, name: str, position: int, curve: tuple[Float64, Float64]) -> None:
    color, dashes = line_style(name, position)
    width, above = (2.4, 3) if name == "ensemble" else (1.4, 2)
    ax.plot(*curve, color=color, ls=dashes, lw=width, zorder=above, label=model_label(name))
