"""Synthetic slides and cohorts, public: plug-in authors use them."""

from kras_plugins.testing.cohort import draw_cohort
from kras_plugins.testing.slides import Truth, draw_slide

__all__ = ["Truth", "draw_cohort", "draw_slide"]
