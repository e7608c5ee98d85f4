"""A small logistic regression on covariates that is stored as plain JSON: its columns, coefficients and intercept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.number_columns import floats
from kras_plugins.evaluation.columns import numbers

if TYPE_CHECKING:
    from kras_plugins.data import Bool, Float64

RARE = 5
"""A level with fewer training patients has no coefficient of its own."""
Columns = Mapping[str, Sequence[str]]
"""Texts by column, one per patient, "" if unknown."""


def fit_logistic(labels: Bool, columns: Columns) -> dict[str, Any]:
    """L2-penalized logistic regression (C = 1) of bool[patient] on covariates; returns plain JSON values.

    A column whose known values are all numbers is signed-log transformed if its skewness calls for it (densities) and
    standardized, and missing values take the training median. In any other column each level of at least RARE patients
    is an indicator; missing is a level of its own. With only one class, the smoothed rate remains.
    """
    encoders = [_encoder(name, list(values)) for name, values in columns.items()]
    frozen: dict[str, Any] = {"encoders": encoders, "coefficients": [], "intercept": 0.0}
    x = _design(encoders, columns, len(labels))
    k, n = float(labels.sum()), len(labels)
    if not x.shape[1] or not 0 < k < n:
        frozen |= {"coefficients": [0.0] * x.shape[1], "intercept": float(np.log((k + 0.5) / (n - k + 0.5)))}
        return frozen
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=1000).fit(x, labels)
    return frozen | {"coefficients": model.coef_[0].tolist(), "intercept": float(model.intercept_[0])}


def apply_logistic(frozen: Mapping[str, Any], columns: Columns, patients: int) -> Float64:
    """Logits, float64[patient]; a column or level that training did not have counts as missing."""
    x = _design(frozen["encoders"], columns, patients)
    logit: Float64 = x @ np.array(frozen["coefficients"], np.float64) + frozen["intercept"]
    return logit


def _encoder(name: str, values: list[str]) -> dict[str, Any]:
    number = numbers(values)
    if number is None:
        count = {level: values.count(level) for level in sorted(set(values))}
        return {"column": name, "levels": [level for level, n in count.items() if n >= RARE]}
    from scipy.stats import skew

    known = number[~np.isnan(number)]
    log = bool(known.min() >= 0 and np.ptp(known) > 0 and skew(known) > 1)
    if log:
        number, known = np.log1p(number), np.log1p(known)
    return {
        "column": name, "log": log, "median": float(np.median(known)), "mean": float(known.mean()),
        "sd": float(known.std()) or 1.0,
    }  # fmt: skip


def _design(encoders: Sequence[Mapping[str, Any]], columns: Columns, patients: int) -> Float64:
    parts: list[Float64] = []
    for e in encoders:
        values = list(columns.get(e["column"], [""] * patients))
        if "levels" in e:
            parts += [np.array([v == level for v in values], np.float64) for level in e["levels"]]
            continue
        number = floats(values).values
        if e["log"]:
            number = np.log1p(np.maximum(number, 0))
        number = np.where(np.isnan(number), e["median"], number)
        parts.append((number - e["mean"]) / e["sd"])
    return np.stack(parts, axis=1) if parts else np.zeros((patients, 0))
