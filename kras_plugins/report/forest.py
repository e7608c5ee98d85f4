"""Forest plots: an AUROC with its interval a line, counts beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.report.html import estimate
from kras_plugins.report.reported import Reported
from kras_plugins.report.style import BLUE, GREY, INK, draw_svg, is_baseline, model_label, model_order, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def forest_plot(of: Reported) -> str:
    """AUROC with interval of every model in scope (filled), of members and ensemble in strata of those in scope (open),
    and of all patients pooled (grey)."""
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
            _beside(ax, y, model)
        if pooled:
            ax.axhline(len(rows) - len(pooled) - 0.5, color=GREY, lw=0.5)
        _finish(ax, [title for title, *_ in rows], min(ends, default=0.5))

    return draw_svg("forest", (11.0, 1.0 + 0.3 * max(len(rows), 3)), paint)


def group_plot(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    column: str,
    overall: Mapping[str, Any],
    *,
    everyone: str = "In scope",
) -> str:
    """AUROC of one model in groups of patients, on top that of `everyone`; empty where no group has one.

    `rows`: objects with `level`, `n`, `n_positive`, `auroc` and what they are levels of under `column`; those
    without an AUROC are left to the table. `name` keeps the ids of figures on one page apart.
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
            _beside(ax, y, row)
        if reference is not None:
            ax.axvline(float(reference), color=BLUE, lw=0.8, ls=":")
        _finish(ax, names, min(ends))

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


def _beside(ax: Axes, y: int, row: Mapping[str, Any]) -> None:
    counts = f"n {_count(row, 'n')}, {_count(row, 'n_positive')} positive"
    place = ax.get_yaxis_transform()
    ax.text(1.02, y, f"{estimate(row.get('auroc') or {})}, {counts}", va="center", transform=place)


def _finish(ax: Axes, names: Sequence[str], left: float) -> None:
    ax.axvline(0.5, color=GREY, lw=0.8, ls=(0, (4, 3)))
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(names) - 0.4, -0.6), xlim=(max(0.0, min(left, 0.5) - 0.03), 1.0), xlabel="AUROC (0.5 is chance)")
    ax.spines["left"].set_visible(False)


def _count(row: Mapping[str, Any], key: str) -> str:
    count = row.get(key)
    return "not stated" if count is None else str(count)
