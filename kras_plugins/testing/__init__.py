"""Synthetic slides and cohorts, and a search for leaks, public: plug-in authors use them."""

from kras_plugins.testing.cohort import draw_cohort
from kras_plugins.testing.leaks import classifier_leaks, find_leaks
from kras_plugins.testing.slides import Truth, draw_slide

__all__ = ["Truth", "classifier_leaks", "draw_cohort", "draw_slide", "find_leaks"]
