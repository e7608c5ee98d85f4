"""Forest plots: an AUROC with its interval a line, counts beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.report.html import estimate
from kras_plugins.report.reported import Reported
from kras_plugins.report.style import BLUE, GREY, INK, NARROW, draw_svg, is_baseline, model_label, model_order, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_ACROSS = 62
"""Letters that fit into a narrow figure."""


def forest_plot(of: Reported, *, narrow: bool = False) -> str:
    """AUROC with interval of every model in scope (filled), of members and ensemble in strata of those in scope (open),
    and of all patients pooled (grey). `narrow`: for a telephone, the words above each line instead of beside it."""
    rows: list[tuple[str, Mapping[str, Any], str, bool]] = []
    for name in model_order(of.models):
        color = BLUE if name == "ensemble" else GREY if is_baseline(name) else INK
        rows.append((model_label(name), of.models[name], color, True))
        if not is_baseline(name):
            rows += [(title, table[name], color, False) for title, table in of.strata if name in table]
    pooled = [name for name in dict.fromkeys((of.main, "histology_only")) if name in of.pooled]
    rows += [(f"{model_label(name)}, all patients", of.pooled[name], GREY, True) for name in pooled]

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ends = []
        for y, (_, model, color, filled) in enumerate(rows):
            ends.append(_line(ax, y, model.get("auroc") or {}, color, filled=filled))
        if pooled:
            ax.axhline(len(rows) - len(pooled) - (0.8 if narrow else 0.5), color=GREY, lw=0.5)
        _finish(ax, [(title, model) for title, model, *_ in rows], min(ends, default=0.5), narrow=narrow)

    if narrow:
        return draw_svg("forest-narrow", _narrow(len(rows)), paint)
    return draw_svg("forest", (11.0, 1.0 + 0.3 * max(len(rows), 3)), paint)


def group_plot(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    column: str,
    overall: Mapping[str, Any],
    *,
    everyone: str = "In scope",
    narrow: bool = False,
) -> str:
    """AUROC of one model in groups of patients, on top that of `everyone`; empty where no group has one.

    `rows`: objects with `level`, `n`, `n_positive`, `auroc` and what they are levels of under `column`; those
    without an AUROC are left to the table. `name` keeps the ids of figures on one page apart; `narrow` as above.
    """
    found = [row for row in rows if (row.get("auroc") or {}).get("value") is not None]
    if not found:
        return ""
    reference = (overall.get("auroc") or {}).get("value")

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        names, lines = [everyone], [(overall, BLUE)]
        names += [short(f"{row.get(column) or 'group'}: {row.get('level') or 'not stated'}") for row in found]
        lines += [(row, INK) for row in found]
        ends = []
        for y, (row, color) in enumerate(lines):
            ends.append(_line(ax, y, row.get("auroc") or {}, color, filled=True))
        if reference is not None:
            ax.axvline(float(reference), color=BLUE, lw=0.8, ls=":")
        _finish(ax, [(who, row) for who, (row, _) in zip(names, lines, strict=True)], min(ends), narrow=narrow)

    if narrow:
        return draw_svg(f"{name}-narrow", _narrow(1 + len(found)), paint)
    return draw_svg(name, (9.6, 0.7 + 0.27 * (1 + len(found))), paint)


def _line(ax: Axes, y: int, auroc: Mapping[str, Any], color: str, *, filled: bool) -> float:
    """Draw one estimate with its interval; where it begins on the left."""
    value, low, high = auroc.get("value"), auroc.get("low"), auroc.get("high")
    if low is not None and high is not None:
        ax.plot([low, high], [y, y], color=color, lw=1.6)
    if value is not None:
        marker, fill = ("o", color) if filled else ("s", "white")
        ax.plot([value], [y], marker, color=color, mfc=fill, ms=6, clip_on=False)
    return min([0.43, *(float(end) for end in (value, low) if end is not None)])


def _narrow(rows: int) -> tuple[float, float]:
    return NARROW, 0.6 + 0.56 * rows


def _finish(ax: Axes, rows: Sequence[tuple[str, Mapping[str, Any]]], left: float, *, narrow: bool) -> None:
    """Name every line of (name, entry), put its numbers beside it, and draw the axis; `left`: where lines begin."""
    place = ax.get_yaxis_transform()
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # so that no line crosses the words
    for y, (name, row) in enumerate(rows):
        numbers = f"{estimate(row.get('auroc') or {})}, n {_count(row, 'n')}, {_count(row, 'n_positive')} positive"
        if narrow:
            words = f"{name}\n{short(numbers, _ACROSS)}"
            text = ax.text(0, y - 0.17, words, va="bottom", transform=place, bbox=paper, linespacing=1.1)
            text.set_in_layout(False)  # words that are wider than the figure would leave no room for the axes
        else:
            ax.text(1.02, y, numbers, va="center", transform=place)
    ax.axvline(0.5, color=GREY, lw=0.8, ls=(0, (4, 3)))
    ax.set_yticks([] if narrow else range(len(rows)), [] if narrow else [name for name, _ in rows])
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(rows) - (0.7 if narrow else 0.4), -0.9 if narrow else -0.6))
    ax.set(xlim=(max(0.0, min(left, 0.5) - 0.03), 1.0), xlabel="AUROC (0.5 is chance)")
    ax.spines["left"].set_visible(False)


def _count(row: Mapping[str, Any], key: str) -> str:
    count = row.get(key)
    return "not stated" if count is None else str(count)
