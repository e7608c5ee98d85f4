"""Outer folds that were fixed before the study, and the settings that they determine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.cohort.folds_file import keeps_sites, read_folds

if TYPE_CHECKING:
    from kras_plugins.cohort.folds_file import FoldCube
    from kras_plugins.cohort.splits import Scheme
    from kras_plugins.cohort.table import Patient
    from kras_plugins.study.settings import StudySettings


def with_given_folds(
    settings: StudySettings, file: Path, patients: Sequence[Patient]
) -> tuple[StudySettings, Mapping[str, FoldCube]]:
    """The settings with the folds, repeats and splits of a file, and each patient's folds int64[repeat] by id.

    Inner splits keep sites together if the given folds do. Raises ConfigError if the file does not assign folds to
    these patients.
    """
    labels = np.array([p.label for p in patients], np.int8)
    cube = read_folds(file, [p.patient_id for p in patients], labels)
    splits: Scheme = "site" if keeps_sites(cube, [p.site for p in patients]) else "random"
    decided = settings.decided(folds=int(cube.max()) + 1, repeats=len(cube), splits=splits)
    return decided, {p.patient_id: cube[:, i] for i, p in enumerate(patients)}
