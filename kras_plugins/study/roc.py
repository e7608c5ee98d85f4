"""The ROC curve of a model in a finished study, whose area is the AUROC that the report prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.errors import ConfigError
from kras_plugins.evaluation.baselines import HISTOLOGY_ONLY, PREVALENCE
from kras_plugins.evaluation.histology import NON_SQUAMOUS
from kras_plugins.report.curves import mean_roc
from kras_plugins.study.fold_scores import FOLDS
from kras_plugins.study.outputs import damaged

if TYPE_CHECKING:
    from kras_plugins.data import Float64

    Row = Mapping[str, Any]

_IN_SCOPE: Mapping[str, Callable[[str], bool]] = {
    "in_scope": lambda meant: True,
    "adenocarcinoma": lambda meant: meant == "adenocarcinoma",
    "non_squamous": lambda meant: meant in NON_SQUAMOUS,
}
"""Whom of those in scope, by what a stated histology means; `all_patients` are the others as well."""
_CONSTANT: Mapping[str, Callable[[str], float]] = {
    PREVALENCE: lambda meant: 0.5,
    HISTOLOGY_ONLY: lambda meant: {"adenocarcinoma": 1.0, "unknown": 0.5}.get(meant, 0.0),
}
"""What baselines rank by that learn nothing."""


def roc_of(
    folder: Path, metrics: Mapping[str, Any], predictions: Sequence[Row], model: str, among: str
) -> tuple[Float64, Float64]:
    """1 - specificity and sensitivity at the corners of the mean curve over folds and repeats, float64[corner] each.

    `folder`: of the study; `predictions`: the rows of its predictions.csv. Scores of different fold models are not on
    one scale, so each fold has its curve (`report.curves.mean_roc`). Raises ConfigError where folds.parquet is damaged,
    or no fold has both labels.
    """
    meant = metrics["scope"]["histologies"]
    every = frozenset(name for row in predictions for name in row["members"].split())
    whole = [row for row in predictions if frozenset(row["members"].split()) == every]
    if among != "all_patients":
        wanted = _IN_SCOPE[among]
        whole = [r for r in whole if not r["reason"].startswith("out of scope") and wanted(meant[r["histology"]])]
    if model in _CONSTANT:
        scores = [_CONSTANT[model](meant[row["histology"]]) for row in whole]
    else:
        ranked = _ranked(folder / FOLDS, model)
        scores = [ranked.get((row["repeat"] or 1, row["patient_id"]), math.nan) for row in whole]
    label = np.array([row["label"] for row in whole], np.float64)
    curve = mean_roc(label, np.array(scores, np.float64), [(row["repeat"], row["fold"]) for row in whole])
    if curve is None:
        raise ConfigError(f"{model} has no ROC curve among {among}", "no fold has patients of both labels")
    return curve


def _ranked(file: Path, model: str) -> dict[tuple[int, str], float]:
    """What patients are ranked by within their fold, by repeat and patient: their logit where nothing else is said."""
    import pyarrow.parquet as parquet

    found: dict[str, dict[tuple[int, str], float]] = {"logit": {}, "in_fold": {}}
    try:
        kept = [("model", "=", model), ("kind", "in", set(found))]
        rows = parquet.read_table(file, filters=kept, columns=["repeat", "kind", "name", "value"]).to_pylist()
    except (OSError, ValueError) as e:  # Arrow's errors are ValueErrors
        raise damaged(file, e) from e
    for row in rows:
        found[row["kind"]][row["repeat"], row["name"]] = row["value"]
    return found["logit"] | found["in_fold"]
