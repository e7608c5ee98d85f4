"""Training, prediction, explanation and storage of the `lgbm` classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from kras_classifier_lgbm import LgbmOptions
from kras_classifier_lgbm.model_file import MOST_BYTES, check_model
from kras_plugins import StoppingTableClassifier
from kras_plugins.learning.training import positive_weight

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64


class LgbmClassifier(StoppingTableClassifier):
    """LightGBM with few leaves; the score is its log-odds."""

    options_type = LgbmOptions
    scaled = False

    def learn(self, x: Float64, y: npt.NDArray[np.int8], valid_x: Float64, valid_y: npt.NDArray[np.int8]) -> None:
        """Boost until the loss of the second pair no longer falls; same data and seed give the same bytes."""
        o = self.options
        weight = positive_weight(y)

        def part(x: Float64, y: npt.NDArray[np.int8], reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
            return lightgbm.Dataset(
                x,
                y,
                # Weights and not `scale_pos_weight`, which the early-stopping loss would ignore.
                weight=np.where(y == 1, weight, 1.0),
                reference=reference,
                feature_name=[f"column_{i}" for i in range(x.shape[1])],
            )

        fitted_on = part(x, y)
        parameters = {
            "objective": "binary",
            "metric": "binary_logloss",
            "num_leaves": o.leaves,
            # Ten of 24 patients per leaf would allow a single split.
            "min_data_in_leaf": min(o.min_leaf, max(1, len(y) // 10)),
            "learning_rate": o.lr,
            "feature_fraction": o.feature_share,
            "bagging_fraction": o.patient_share,
            "bagging_freq": 1,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": o.jobs,
            "seed": self.seed,
            "verbosity": -1,
        }
        booster = lightgbm.train(
            parameters,
            fitted_on,
            num_boost_round=o.rounds,
            valid_sets=[part(valid_x, valid_y, fitted_on)],
            callbacks=[lightgbm.early_stopping(o.patience, verbose=False)],
        )
        self._take(booster.model_to_string(num_iteration=booster.best_iteration))

    def score(self, x: Float64) -> npt.NDArray[Any]:
        """Log-odds float64[patient]."""
        return np.asarray(self._booster.predict(x, raw_score=True, num_threads=self.options.jobs))

    def contribute(self, row: Float64) -> tuple[Float64, float]:
        """SHAP values of the trees (Lundberg et al. 2020) as LightGBM computes them; the base is the mean log-odds."""
        found = np.asarray(self._booster.predict(row[None], pred_contrib=True, num_threads=1))[0]
        return found[:-1], float(found[-1])

    def write(self, folder: Path) -> None:
        """Write `model.txt` (LightGBM's own format)."""
        (folder / "model.txt").write_text(self._model, encoding="utf-8", newline="\n")

    def read(self, folder: Path) -> None:
        """Load what `write` wrote; StoreError for a text that would crash LightGBM."""
        with (folder / "model.txt").open("rb") as f:
            model = f.read(MOST_BYTES).decode("utf-8", errors="replace")
        check_model(model, len(self._fitted().columns))
        self._take(model)

    def _take(self, model: str) -> None:
        """Keep the model as text and ready to run, so that a fitted and a loaded classifier are the same."""
        self._model = model
        self._booster = lightgbm.Booster(model_str=model)
