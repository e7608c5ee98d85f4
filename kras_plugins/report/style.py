"""How pages and figures look: names of models, colors safe for the color-blind, matplotlib settings."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kras_plugins.data import split_extractor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, Color Universal Design (2008); yellow is left out because it vanishes on white.
BLUE, VERMILION, GREEN, ORANGE, SKY, PINK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#6B7280",
)  # fmt: skip
INK = "#1F2933"
RAISES, LOWERS = "#B35806", "#2166AC"
"""What raises and what lowers a score: poles that the color-blind tell apart (after ColorBrewer's PuOr and RdBu)."""

MODEL_LABELS: Mapping[str, str] = {
    "ensemble": "Ensemble",
    "he": "HE (attention MIL)",
    "mlp": "AI-MLP",
    "rf": "AI-RF",
    "lgbm": "LightGBM",
    "histology_only": "Histology alone",
    "prevalence": "Prevalence alone",
    "clinical": "Clinical covariates",
    "til_only": "Lymphocytes alone",
    "site_only": "Site alone",
    "meanmax_only": "Mean and maximum of tiles",
}
_BASELINES = {"histology_only", "prevalence", "clinical", "til_only", "site_only"}

# Color and line style differ together, so that no model is identified by its color alone.
_LINES = (
    (VERMILION, "--"), (GREEN, "-."), (PINK, (0, (5, 1))), (ORANGE, (0, (3, 1, 1, 1))), (SKY, (0, (7, 2, 1, 2))),
)  # fmt: skip

_BASELINE_LINES: Mapping[str, tuple[str, Any]] = {
    "histology_only": (INK, ":"),
    "site_only": (GREY, (0, (4, 2))),
    "clinical": (GREY, (0, (6, 2, 1, 2, 1, 2))),
    "til_only": (GREY, (0, (1, 3))),
    "meanmax_only": (INK, (0, (5, 2, 1, 2))),
}

NARROW = 3.9
"""Width in inches of a figure that a telephone shows about as large as it was drawn: 9 points are 11 pixels or more."""
_SIGNS_PER_INCH, _HANDLE = 13.0, 5

_RC: Mapping[str, Any] = {
    # Text stays text: it is searchable, and a screen reader finds it. Verdana has the metrics of DejaVu Sans.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    # A histology called "$x" is not a formula.
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
}


def model_label(name: str) -> str:
    """What readers call a model; names of other people's plug-ins stay as they are.

    A member on one of several extractors says which: `HE (attention MIL) on vit`.
    """
    plain, extractor = split_extractor(name)
    label = MODEL_LABELS.get(plain, plain)
    return f"{label} on {extractor}" if extractor else label


def is_baseline(name: str) -> bool:
    """Whether a column of metrics.json is a baseline: no model of the slide, or a plain one beside the ensemble."""
    plain, _ = split_extractor(name)
    return plain in _BASELINES or plain.endswith("_only")


def model_order(names: Mapping[str, Any]) -> list[str]:
    """The ensemble, then its members, then the baselines; each in the given order."""
    return sorted(names, key=lambda name: (name != "ensemble", is_baseline(name)))


def line_style(name: str, position: int) -> tuple[str, Any]:
    """(color, line style) of the model at `position` of `model_order`."""
    if name == "ensemble":
        return BLUE, "-"
    if is_baseline(name):
        return _BASELINE_LINES.get(name, (GREY, ":"))
    return _LINES[position % len(_LINES)]


def short(text: str, most: int = 34) -> str:
    """A text that fits beside an axis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def above(figure: Figure) -> None:
    """Put the legend of a single plot above the axes, where it covers no curve, in as many columns as fit."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    if labels:
        longest = max(len(label) for label in labels)
        fit = int(figure.get_figwidth() * _SIGNS_PER_INCH // (longest + _HANDLE))
        figure.legend(loc="outside upper left", ncols=max(1, min(fit, len(labels))), handlelength=2.2, columnspacing=1)


def say(ax: Axes, text: str) -> None:
    """Put a remark where a curve would be."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color=GREY)


def draw_svg(name: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> str:
    """An SVG element for a page: `paint` fills a figure of `size` (width, height in inches at 72 units).

    The bytes depend only on what is painted: the user's matplotlib settings, the date and random ids stay
    out. `name` keeps the ids of several figures on one page apart.
    """
    buffer = io.StringIO()
    with _styled({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        _figure(size, paint).savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    return re.sub(r'<g id="[A-Za-z0-9_.]+">', "<g>", text[text.index("<svg") :])


def draw_png(size: tuple[float, float], paint: Callable[[Figure], None], dpi: int = 220) -> bytes:
    """The same figure as PNG on white, for what takes no SVG; the bytes depend only on what is painted."""
    buffer = io.BytesIO()
    with _styled({}):
        _figure(size, paint).savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    return buffer.getvalue()


def _figure(size: tuple[float, float], paint: Callable[[Figure], None]) -> Figure:
    from kras_plugins.report.laid_out import LaidOutFigure

    figure = LaidOutFigure(figsize=size, layout="constrained")
    paint(figure)
    return figure


@contextmanager
def _styled(more: Mapping[str, Any]) -> Iterator[None]:
    """Our settings of matplotlib and no others."""
    import matplotlib
    import matplotlib.style

    with (
        matplotlib.style.context("default"),
        matplotlib.rc_context({**_RC, **more}),
        warnings.catch_warnings(),
    ):
        # The browser has fonts for scripts that DejaVu lacks; only the layout is estimated without them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield
