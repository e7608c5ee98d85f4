"""Option `--risk-control`: a threshold whose sensitivity is guaranteed with 90 % confidence, or none (MAPIE).

Learn-then-test (Angelopoulos et al. 2022): thresholds are tested from the lowest up, in an order fixed beforehand, and
the highest that passes is taken. A cut that only just reaches the target on training scores does not pass; with few
positives none does. MAPIE is the extra `risk`, imported only here.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64

CONFIDENCE = 0.9
_GRID = np.round(np.arange(-9.0, 5.05, 0.1), 1)
"""Logits to test, fixed without looking at the data, as the guarantee requires."""


def require_mapie() -> None:
    """Raise ConfigError unless MAPIE with risk control of binary classifiers is installed."""
    try:
        from mapie.risk_control import BinaryClassificationController  # noqa: F401
    except ImportError as e:
        raise ConfigError(f"--risk-control needs MAPIE 1.6 or later: {e}", "pip install 'kras[risk]'") from e


def controlled_threshold(labels: npt.ArrayLike, scores: npt.ArrayLike, sensitivity: float) -> float:
    """The highest logit on a grid of 0.1 with sensitivity ≥ the target at 90 % confidence; NaN if none is found.

    `scores`: logits[patient] that are out of fold. The guarantee holds for patients exchangeable with these, scored in
    the same way. Raises ConfigError without MAPIE.
    """
    require_mapie()
    from mapie.risk_control import BinaryClassificationController
    from scipy.special import expit

    y, probability = np.asarray(labels) > 0, expit(np.asarray(scores, np.float64))
    if not y.any() or y.all():
        return math.nan

    def predict(p: Float64) -> Float64:
        return np.stack([1 - p, p], axis=1)

    controller = BinaryClassificationController(
        predict, "recall", sensitivity, CONFIDENCE, list_predict_params=expit(_GRID), fwer_method="fixed_sequence"
    )
    with warnings.catch_warnings():
        # Finding none is a valid result here, and reported as such.
        warnings.filterwarnings("ignore", message="No predict parameters were found")
        controller.calibrate(probability, y.astype(int))
    found = np.asarray(controller.valid_predict_params, np.float64)
    return float(_GRID[np.argmin(np.abs(expit(_GRID) - found.max()))]) if found.size else math.nan
