"""What the tests of the report share."""

from __future__ import annotations

from typing import Any

import pytest

from kras_plugins.report import study

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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their figures, which take the time."""

    def nothing(*_: Any) -> dict[str, str]:
        return dict.fromkeys(FIGURES, "")

    monkeypatch.setattr(study, "_figures", nothing)
