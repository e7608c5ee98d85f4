"""Settings of studies that take seconds."""

from __future__ import annotations

from pathlib import Path

from kras_plugins.study import StudySettings


def quick(tables: Path, store: Path, **given: object) -> StudySettings:
    """Settings of a study that takes seconds."""
    settings = StudySettings.model_validate({"classifiers": ("rf",), "folds": 3, "workers": 1, "cache": store, **given})
    return settings.with_tables([tables / "LUAD.csv", tables / "LUSC.csv"]).with_options("classifier.rf.trees=50")
