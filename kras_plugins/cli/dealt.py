"""`--folds-file`: outer folds that were decided before the run, and what they settle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.cohort.folds_file import FoldCube
    from kras_plugins.cohort.table import Patient


def dealt(
    file: Path, patients: Sequence[Patient], others: Mapping[str, object]
) -> tuple[Mapping[str, FoldCube], dict[str, Any]]:
    """Each patient's folds int64[repeat] by id, and the settings they decide: folds, repeats and splits.

    Inner splits keep sites together where the given folds do. `others`: options that decide the same; ConfigError
    where one of them is given too.
    """
    from kras_plugins.cohort.folds_file import keeps_sites, read_folds

    doubled = [name for name, value in others.items() if value]
    if doubled:
        raise ConfigError(f"--folds-file and {', '.join(doubled)} exclude each other", "leave one of them out")
    labels = np.array([p.label for p in patients], np.int8)
    cube = read_folds(file, [p.patient_id for p in patients], labels)
    settings = {
        "folds_file": str(file),
        "folds": int(cube.max()) + 1,
        "repeats": len(cube),
        "splits": "site" if keeps_sites(cube, [p.site for p in patients]) else "random",
    }
    return {p.patient_id: cube[:, i] for i, p in enumerate(patients)}, settings
