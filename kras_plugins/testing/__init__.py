"""Synthetic slides and cohorts, a search for leaks and the conformance kit, public: plug-in authors use them."""

from typing import TYPE_CHECKING, Any

from kras_plugins.testing.cohort import draw_cohort
from kras_plugins.testing.leaks import classifier_leaks, find_leaks
from kras_plugins.testing.slides import Truth, draw_slide

if TYPE_CHECKING:
    from kras_plugins.testing.checks.pytest_cases import conformance

__all__ = ["Truth", "classifier_leaks", "conformance", "draw_cohort", "draw_slide", "find_leaks"]


def __getattr__(name: str) -> Any:
    # The kit is for test files alone; those who draw slides need not import it.
    if name == "conformance":
        from kras_plugins.testing.checks.pytest_cases import conformance

        return conformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
