"""Figures of the study report: legends beside the curves, all words inside, large enough on a telephone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from study_pages import estimate, fake_metrics, fake_predictions, with_evidence

from kras_plugins.report import curve_plots, forest, importance, score_plots, style
from kras_plugins.report.curves import ScoreColumns
from kras_plugins.report.reported import read_reported
from kras_plugins.report.style import NARROW, draw_svg

Draw = Callable[[], Any]
TELEPHONE_PX = 400 - 2 * 16
"""What a screen of 400 pixels leaves beside the margins of the page."""


def scores(signal: float, names: tuple[str, ...]) -> ScoreColumns:
    """Patients whose scores tell the label well or not at all, or are upside down."""
    rng = np.random.default_rng(1)
    label = (rng.random(160) < 0.3).astype(np.float64)
    by_model = {name: 1 / (1 + np.exp(-signal * (2 * label - 1) - rng.normal(size=160))) for name in names}
    return ScoreColumns(
        label=label,
        by_model=by_model,
        ranks=by_model,
        fold=[(1, i % 5) for i in range(160)],
        first_repeat=np.ones(160, bool),
        histology=["LUAD" if i % 4 else "a histology with a long name" for i in range(160)],
        call=[""] * 160,
    )


FEW = ("ensemble", "rf")
MANY = ("ensemble", "he", "mlp", "rf", "lgbm", "somebodys_classifier_with_a_long_name", "clinical", "site_only")
DATA = [(signal, names) for signal in (-3.0, 0.0, 3.0) for names in (FEW, MANY)]


def curves(signal: float, names: tuple[str, ...]) -> dict[str, Any]:
    at = [t / 100 for t in range(1, 31)]
    flat = [0.2 - 0.01 * signal * t for t in at]
    return {"thresholds": at, "test_all": [0.3 - t for t in at], "models": dict.fromkeys(names, flat)}


FIGURES: dict[str, Callable[[float, tuple[str, ...]], Any]] = {
    "roc": lambda signal, names: curve_plots.roc_plot(scores(signal, names)),
    "precision": lambda signal, names: curve_plots.precision_plot(scores(signal, names)),
    "calibration": lambda signal, names: curve_plots.calibration_plot(scores(signal, names), "ensemble", None),
    "decision": lambda signal, names: curve_plots.decision_plot(curves(signal, names), "decision"),
    "scores": lambda signal, names: score_plots.score_plot(
        scores(signal, names), "ensemble", {"rule_in": {"threshold": 0.6}, "rule_out": {"threshold": 0.2}}
    ),
    "importance": lambda signal, names: importance.importance_plot(
        {n: {"groups": [{"group": "B", "name": "densities", "features": 3, "drop": signal, "sd": 0.1}]} for n in names}
    ),
}


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, laid out, instead of their text."""
    made: list[Figure] = []

    def draw(name: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> str:
        with matplotlib.rc_context(style._RC):
            figure = Figure(figsize=size, dpi=72, layout="constrained")
            FigureCanvasAgg(figure)
            paint(figure)
            figure.canvas.draw()
        made.append(figure)
        return name

    for module in (curve_plots, score_plots, forest, importance):
        monkeypatch.setattr(module, "draw_svg", draw)
    return made


@pytest.mark.parametrize("name", FIGURES)
def test_a_legend_lies_on_no_curve_and_no_word_is_cut_whatever_the_data(name: str, painted: list[Figure]) -> None:
    for signal, names in DATA:
        FIGURES[name](signal, names)
        figure = painted.pop()
        (ax,) = figure.axes
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        assert ax.get_legend() is None
        (legend,) = figure.legends
        box = legend.get_window_extent(renderer)
        assert box.y0 >= ax.get_window_extent(renderer).y1 - 0.5, "the axes, and so all curves, end below it"
        inside(figure)


@pytest.mark.parametrize("narrow", [False, True])
def test_forest_plots_cut_no_word(narrow: bool, painted: list[Figure]) -> None:
    metrics = with_evidence(fake_metrics(fake_predictions()))
    metrics["models"]["somebodys_classifier_with_a_long_name"] = metrics["models"]["rf"]
    of = read_reported(metrics, {})
    forest.forest_plot(of, narrow=narrow)
    forest.group_plot("groups", of.rows("subgroups"), "column", of.main_model, narrow=narrow)
    for figure in painted:
        inside(figure)


def inside(figure: Figure) -> None:
    """All texts lie within the figure."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = [t for legend in figure.legends for t in legend.get_texts()]
    for ax in figure.axes:
        texts += [*ax.texts, ax.xaxis.label, ax.yaxis.label]
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    for text in texts:
        box = text.get_window_extent(renderer)
        assert box.x0 > -1 and box.x1 < figure.bbox.width + 1, text.get_text()
        assert box.y0 > -1 and box.y1 < figure.bbox.height + 1, text.get_text()


@pytest.mark.parametrize("name", FIGURES)
def test_words_of_a_figure_have_eleven_pixels_or_more_on_a_telephone(name: str) -> None:
    svg = FIGURES[name](1.0, MANY)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])  # type: ignore[index]
    assert width == pytest.approx(NARROW * 72)
    sizes = {float(size) for size in re.findall(r"font(?:-size)?:[^;]*?([\d.]+)px", svg)}
    assert min(sizes) * TELEPHONE_PX / width >= 11, sizes


def test_figures_of_groups_have_a_narrow_form_with_large_words() -> None:
    rows = [{"column": "specimen", "level": "biopsy", "n": 9, "n_positive": 4, "auroc": estimate(0.6, 0.5, 0.7)}]
    everyone = {"n": 20, "n_positive": 9, "auroc": estimate(0.7, 0.6, 0.8)}
    svg = forest.group_plot("g", rows, "column", everyone, narrow=True)
    assert float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1]) == pytest.approx(NARROW * 72)  # type: ignore[index]
    assert "0.600 (0.500–0.700), n 9, 4 positive" in svg


def test_a_figure_is_the_same_text_every_time() -> None:
    assert FIGURES["importance"](0.1, FEW) == FIGURES["importance"](0.1, FEW)
    assert draw_svg("empty", (1, 1), lambda _: None).startswith("<svg")
