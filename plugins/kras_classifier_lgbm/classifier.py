"""Training, prediction, explanation and storage of the `lgbm` classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lightgbm
import numpy as np

from kras_classifier_lgbm import LgbmOptions
from kras_plugins import Cohort, Explanation, PluginError, Sample
from kras_plugins.learning.tabular import Preprocessor, read_facts, write_facts
from kras_plugins.learning.training import check_parts, positive_weight

if TYPE_CHECKING:
    from kras_plugins.data import Float32


class LgbmClassifier:
    """LightGBM with few leaves; the score is its log-odds."""

    def __init__(self, options: LgbmOptions, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._preprocessor: Preprocessor | None = None
        self._model = ""
        self._booster: lightgbm.Booster | None = None

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Boost on `train` until the loss of `valid` no longer falls; same data and seed give the same bytes.

        The preprocessor sees `train` only.
        """
        check_parts(train, valid)
        o = self._options
        preprocessor = Preprocessor.fit(train.samples, o.features, o.ip_preset)
        weight = positive_weight(train)

        def part(cohort: Cohort, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
            labels = np.asarray(cohort.labels)
            return lightgbm.Dataset(
                preprocessor.table(cohort.samples),
                labels,
                # Weights and not `scale_pos_weight`, which the loss that stops the training would not follow.
                weight=np.where(labels == 1, weight, 1.0),
                reference=reference,
                feature_name=[f"column_{i}" for i in range(len(preprocessor.columns))],
            )

        fitted_on = part(train)
        parameters = {
            "objective": "binary",
            "metric": "binary_logloss",
            "num_leaves": o.leaves,
            # Ten of 24 patients a leaf would allow a single split.
            "min_data_in_leaf": min(o.min_leaf, max(1, len(train) // 10)),
            "learning_rate": o.lr,
            "feature_fraction": o.feature_share,
            "bagging_fraction": o.patient_share,
            "bagging_freq": 1,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": o.jobs,
            "seed": self._seed,
            "verbosity": -1,
        }
        booster = lightgbm.train(
            parameters,
            fitted_on,
            num_boost_round=o.rounds,
            valid_sets=[part(valid, fitted_on)],
            callbacks=[lightgbm.early_stopping(o.patience, verbose=False)],
        )
        self._preprocessor = preprocessor
        self._take(booster.model_to_string(num_iteration=booster.best_iteration))

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Log-odds float32[sample]."""
        preprocessor, booster = self._fitted()
        if not samples:
            return np.empty(0, dtype=np.float32)
        scores = booster.predict(preprocessor.table(samples), raw_score=True, num_threads=self._options.jobs)
        return np.asarray(scores, dtype=np.float32)

    def explain(self, sample: Sample) -> Explanation:
        """SHAP values of the trees (Lundberg et al. 2020) as LightGBM computes them; `base` is the mean log-odds."""
        preprocessor, booster = self._fitted()
        row = np.asarray(booster.predict(preprocessor.table([sample]), pred_contrib=True, num_threads=1))[0]
        return Explanation(kind="contribution", values=row[:-1], base=float(row[-1]), names=preprocessor.columns)

    def save(self, folder: Path) -> None:
        """Write `model.txt` (LightGBM's own format) and `classifier.json`."""
        preprocessor, _ = self._fitted()
        (folder / "model.txt").write_text(self._model, encoding="utf-8")
        write_facts(folder, self._options, self._seed, preprocessor)

    @classmethod
    def load(cls, folder: Path) -> LgbmClassifier:
        """The classifier that `save` wrote."""
        options, seed, preprocessor = read_facts(folder, LgbmOptions)
        loaded = cls(options, seed)
        loaded._preprocessor = preprocessor
        loaded._take((folder / "model.txt").read_text(encoding="utf-8"))
        return loaded

    def _take(self, model: str) -> None:
        """Hold the model as text and ready to run: a fitted and a loaded classifier are then the same."""
        self._model = model
        self._booster = lightgbm.Booster(model_str=model)

    def _fitted(self) -> tuple[Preprocessor, lightgbm.Booster]:
        if self._preprocessor is None or self._booster is None:
            raise PluginError("classifier lgbm is not fitted", "call fit or load first")
        return self._preprocessor, self._booster
