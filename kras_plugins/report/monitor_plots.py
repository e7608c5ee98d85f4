"""Charts of monitoring over its windows, each an SVG element as text: training in gray, new patients in color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.report.style import BLUE, GREEN, GREY, INK, NARROW, VERMILION, above, draw_svg, say, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Sequence[Mapping[str, Any]]
_HEIGHT = 2.5
_MOST_TICKS = 6
_MOST_SCANNERS = 3
_SHAPES = ((BLUE, "-", "o"), (VERMILION, "--", "^"), (GREEN, "-.", "s"), (INK, ":", "D"))


def value_plot(
    name: str, windows: Sequence[str], values: Series, training: Mapping[str, Any] | None, label: str
) -> str:
    """Median and middle half of a quantity in each window, over training's; None where a window has no value."""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        if training is not None:
            ax.axhspan(training["q25"], training["q75"], color=GREY, alpha=0.18, lw=0, label="training, middle half")
            ax.axhline(training["median"], color=GREY, lw=1.2)
        known = [(i, v) for i, v in enumerate(values) if v]
        for i, v in known:
            ax.plot([i, i], [v["q25"], v["q75"]], color=BLUE, lw=2)
        if known:
            at, middle = [i for i, _ in known], [v["median"] for _, v in known]
            ax.plot(at, middle, "o", color=BLUE, ms=5, label="new, median and middle half")
        else:
            say(ax, "no values yet")
        _windows(ax, windows, label)
        above(figure)

    return draw_svg(name, (NARROW, _HEIGHT), paint)


def share_plot(
    name: str, windows: Sequence[str], shares: Mapping[str, Sequence[float | None]], training: Mapping[str, float]
) -> str:
    """Shares of patients in each window as lines by name, and training's as short lines of that color at the left."""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        for (what, values), (color, dash, marker) in zip(shares.items(), _SHAPES, strict=False):
            known = [(i, 100 * v) for i, v in enumerate(values) if v is not None]
            ax.plot(
                [i for i, _ in known], [v for _, v in known], ls=dash, marker=marker, color=color, ms=4,
                label=short(what, 30), clip_on=False,
            )  # fmt: skip
            if what in training:
                ax.plot([-0.8, -0.55], [100 * training[what]] * 2, color=color, lw=3, clip_on=False)
        if not windows:
            say(ax, "no patients yet")
        _windows(ax, windows, "% of patients")
        ax.set_ylim(bottom=0)
        above(figure)

    return draw_svg(name, (NARROW, _HEIGHT), paint)


def estimate_plot(
    name: str, windows: Sequence[str], lines: Mapping[str, Sequence[Mapping[str, Any] | None]], perfect: float | None,
    label: str,
) -> str:  # fmt: skip
    """Estimates with their intervals in each window, by name side by side; `perfect`: where a line is drawn."""

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        if perfect is not None:
            ax.axhline(perfect, color=GREY, lw=1.2)
        shown = False
        for k, ((what, values), (color, _, marker)) in enumerate(zip(lines.items(), _SHAPES, strict=False)):
            known = [
                (i + 0.14 * (k - (len(lines) - 1) / 2), v) for i, v in enumerate(values) if v and v["value"] is not None
            ]
            for i, v in known:
                ax.plot([i, i], [v["low"], v["high"]], color=color, lw=1.4)
            if known:
                at, middle = [i for i, _ in known], [v["value"] for _, v in known]
                ax.plot(at, middle, marker, color=color, ms=5, label=what)
                shown = True
        if not shown:
            say(ax, "no estimate in any window")
        _windows(ax, windows, label)
        above(figure)

    return draw_svg(name, (NARROW, _HEIGHT), paint)


def scanner_shares(
    series: Series, training: Mapping[str, Any] | None
) -> tuple[dict[str, list[float | None]], dict[str, float]]:
    """Shares of the most frequent scanners, new ones and training's together, among patients whose scanner is known."""
    counts = [{k: n for k, n in own["scanner"].items() if k} for own in (*series, *([training] if training else []))]
    total: dict[str, int] = {}
    for own in counts:
        for name, n in own.items():
            total[name] = total.get(name, 0) + n
    often = sorted(total, key=lambda name: (-total[name], name))[:_MOST_SCANNERS]

    def share(own: Mapping[str, int], name: str) -> float | None:
        return own.get(name, 0) / sum(own.values()) if own else None

    shares = {name: [share(own, name) for own in counts[: len(series)]] for name in often}
    before = {name: value for name in often if training and (value := share(counts[-1], name)) is not None}
    return shares, before


def _windows(ax: Axes, windows: Sequence[str], label: str) -> None:
    step = max(1, -(-len(windows) // _MOST_TICKS))
    at = list(range(0, len(windows), step))
    ax.set_xticks(at, [short(windows[i], 20) for i in at], rotation=25, ha="right", fontsize=8)
    ax.set(xlim=(-0.85, max(len(windows), 1) - 0.4), ylabel=label)
