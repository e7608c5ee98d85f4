"""`kras cohort`: labels from mutation tables, a check before any GPU time, folds in a file."""

from __future__ import annotations

from kras_plugins.cli import cohort_check, cohort_labels, cohort_split
from kras_plugins.cli.words import Commands

app = Commands("Labels, checks and folds of a cohort.")
app.add("labels", cohort_labels.labels)
app.add("check", cohort_check.check)
app.add("split", cohort_split.split)
