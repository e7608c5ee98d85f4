"""Synthetic slides and cohorts, a search for leaks, and the conformance kit: public, for authors of plug-ins."""

from typing import TYPE_CHECKING, Any

from kras_plugins.testing.cohort import draw_cohort
from kras_plugins.testing.leaks import classifier_leaks, find_leaks
from kras_plugins.testing.slides import Truth, draw_slide

if TYPE_CHECKING:
    from kras_plugins.testing.checks.pytest_cases import conformance

__all__ = ["Truth", "classifier_leaks", "conformance", "draw_cohort", "draw_slide", "find_leaks"]


def __getattr__(name: str) -> Any:
    # Only test files need the kit; drawing slides does not import it.
    if name == "conformance":
        from kras_plugins.testing.checks.pytest_cases import conformance

        return conformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
