"""What the tests of the report share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kras_plugins.report import study, worth
from kras_plugins.report.curve_plots import benefit_plot

FIGURES = (
    "forest",
    "roc",
    "precision",
    "scores",
    "calibration",
    "decision",
    "decisions",
    "importance",
    "subgroups",
    "confounders",
)


_benefits: dict[str, str] = {}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their figures, which take the time; that of the gain in net benefit is drawn once of the same."""

    def nothing(*_: Any) -> dict[str, str]:
        return dict.fromkeys(FIGURES, "")

    def benefit(rows: Sequence[tuple[float, Mapping[str, Any]]]) -> str:
        key = repr(rows)
        if key not in _benefits:
            _benefits[key] = benefit_plot(rows)
        return _benefits[key]

    monkeypatch.setattr(study, "_figures", nothing)
    monkeypatch.setattr(worth, "benefit_plot", benefit)
