"""Plots of scores, each an SVG element as text: a cohort's distribution, one patient's call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.report.curves import ScoreColumns
from kras_plugins.report.html import number
from kras_plugins.report.style import BLUE, INK, NARROW, VERMILION, above, draw_svg, model_label, say, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS = 400
_MOST_HISTOLOGIES = 5
_NARROW, _NEAR = 0.3, 0.4
"""The name of the middle zone stands a line higher, clear of the other two, if the zone is narrower than this share of
the axis, or if it and a zone beside it together are."""


def score_plot(scores: ScoreColumns, model: str, thresholds: Mapping[str, Any]) -> str:
    """Scores of one model by histology and label in the first repeat: boxes, points, `thresholds` as lines.

    The thresholds must have been chosen on these scores or before them: those of single folds apply only to their fold.
    """
    score = np.where(scores.first_repeat, scores.by_model[model], np.nan)
    by_count = sorted(set(scores.histology), key=lambda h: (-scores.histology.count(h), h))
    kept = by_count[:_MOST_HISTOLOGIES]
    histology = np.array([h if h in kept else "other" for h in scores.histology], dtype=object)
    groups = [
        (name, label, values)
        for name in [*kept, *(["other"] if len(by_count) > len(kept) else [])]
        for label in (0, 1)
        if len(values := score[(histology == name) & (scores.label == label) & np.isfinite(score)])
    ]

    marks = {name: t for name in ("rule_out", "rule_in") if (t := _threshold(thresholds, name)) is not None}
    shown = np.append(score[np.isfinite(score)], list(marks.values()))
    end = min(1.0, 1.05 * shown.max()) if len(shown) and shown.max() > 0 else 1.0

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        jitter = np.random.default_rng(0)
        for y, (_, label, values) in enumerate(groups):
            color = VERMILION if label else BLUE
            p5, p25, p50, p75, p95 = np.percentile(values, (5, 25, 50, 75, 95))
            ax.plot([p5, p25, np.nan, p75, p95], [y] * 5, color=color, lw=1.2)
            ax.barh(y, p75 - p25, left=p25, height=0.44, facecolor="none", edgecolor=color, lw=1.2)
            ax.plot([p50, p50], [y - 0.22, y + 0.22], color=INK, lw=1.8)
            if len(values) <= _MOST_POINTS:
                at = y + jitter.uniform(-0.2, 0.2, len(values))
                ax.plot(values, at, "^" if label else "o", color=color, ms=3, alpha=0.5, mew=0)
        for name, threshold in marks.items():
            title = f"{name.replace('_', '-')} threshold {number(threshold)}"
            ax.axvline(threshold, color=INK, lw=1, ls="-" if name == "rule_in" else (0, (4, 2)), label=title)
        for y, (name, label, values) in enumerate(groups):
            who = f"{short(name or 'histology not stated', 28)}, {'positive' if label else 'negative'} ({len(values)})"
            # White behind the words, so that thresholds do not cross them.
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            ax.text(0.01, y - 0.27, who, va="bottom", transform=ax.get_yaxis_transform(), zorder=4, bbox=paper)
        ax.set(ylim=(len(groups) - 0.6, -0.75), xlabel="Calibrated probability", xlim=(0, end), yticks=[])
        ax.spines["left"].set_visible(False)
        above(figure)
        if not groups:
            say(ax, "no scores")

    return draw_svg("scores", (NARROW, max(4.5, 1.2 + 0.55 * len(groups))), paint)


def call_plot(probability: float | None, members: Mapping[str, float], thresholds: Mapping[str, Any]) -> str:
    """One patient's ensemble and member probabilities on the line that the two thresholds divide, as SVG."""
    return draw_svg("call", *call_figure(probability, members, thresholds))


def call_figure(
    probability: float | None, members: Mapping[str, float], thresholds: Mapping[str, Any]
) -> tuple[tuple[float, float], Callable[[Figure], None]]:
    """Size in inches and painter of `call_plot`."""
    out, into = _threshold(thresholds, "rule_out"), _threshold(thresholds, "rule_in")
    known = [v for v in (probability, out, into, *members.values()) if v is not None and np.isfinite(v)]
    end = min(1.0, 1.25 * max([*known, 0.04]))

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        zones = [("rule-out", 0.0, out, "#D6E6F2"), ("rule-in", into, end, "#F7DCC9")]
        if out is not None and into is not None and out < into:
            zones.insert(1, ("indeterminate", out, into, "#ECEEF1"))
        for name, low, high, color in zones:
            if low is not None and high is not None and low < high:
                ax.axvspan(low, high, color=color, lw=0)
                near = high - low < _NARROW * end or min(high, end - low) < _NEAR * end
                tight = name == "indeterminate" and near
                up = 1.04 + 0.32 / (1 + len(members)) * tight
                ax.text((low + high) / 2, up, name, ha="center", transform=ax.get_xaxis_transform(), fontsize=8)
        rows = [("ensemble", probability), *members.items()]
        for y, (name, value) in enumerate(rows):
            if value is not None and np.isfinite(value):
                color, marker, size = (BLUE, "D", 9) if name == "ensemble" else (INK, "o", 5)
                ax.plot([value], [y], marker, color=color, ms=size, clip_on=False)
        ax.set_yticks(range(len(rows)), [model_label(name) for name, _ in rows])
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=6)
        ax.set(xlim=(0, end), ylim=(len(rows) - 0.4, -0.6), xlabel="Calibrated probability")
        ax.spines["left"].set_visible(False)

    return (4.6, 1.0 + 0.28 * (1 + len(members))), paint


def _threshold(operating_points: Mapping[str, Any], name: str) -> float | None:
    value = (operating_points.get(name) or {}).get("threshold")
    return None if value is None else float(value)
