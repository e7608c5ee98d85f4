"""Training, prediction, explanation and storage of the `meanmax` classifier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kras_classifier_meanmax import MeanMaxOptions
from kras_classifier_meanmax.pooling import pool
from kras_plugins import Cohort, Explanation, PluginError, Sample, StoreError
from kras_plugins.learning.tiles import Source, check_source, checked_slabs, count, evenly, places, source_of
from kras_plugins.learning.training import check_parts

if TYPE_CHECKING:
    from kras_plugins.data import Float32, Float64

PENALTIES = np.logspace(-5, 1, 7)
"""scikit-learn's C, the inverse of the penalty: there are more features than patients, so strong penalties win."""


@dataclass(frozen=True)
class Line:
    """float64[2 × feature] each, means before maxima: center, scale and weights of a patient's pooled tiles; and the
    score of the training patients' mean."""

    center: Float64
    scale: Float64
    weights: Float64
    intercept: float

    def score(self, pooled: Float64) -> float:
        """The log-odds of pooled tiles float64[2 × feature]."""
        return float((pooled - self.center) / self.scale @ self.weights) + self.intercept


class MeanMaxClassifier:
    """L2 logistic regression on standardized mean and maximum of all tiles of a patient."""

    def __init__(self, options: MeanMaxOptions, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._line: Line | None = None
        self._source: Source | None = None

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Fit on both parts, since there is no early stopping; the penalty has the least log-loss in inner folds."""
        check_parts(train, valid)
        samples = [*train.samples, *valid.samples]
        y = np.concatenate([train.labels, valid.labels])
        self._source = source_of(samples)
        x = np.stack([pool(sample) for sample in samples if count(sample)])
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
        folds = min(self._options.inner_folds, int(min(y.sum(), len(y) - y.sum())))
        if folds < 2:  # a single patient cannot be held out
            model.set_params(logisticregression__C=float(PENALTIES[0])).fit(x, y)
        else:
            cv = StratifiedKFold(folds, shuffle=True, random_state=self._seed)
            grid = {"logisticregression__C": PENALTIES.tolist()}
            model = GridSearchCV(model, grid, scoring="neg_log_loss", cv=cv).fit(x, y).best_estimator_
        scaler, fitted = model[0], model[1]
        self._line = Line(scaler.mean_, scaler.scale_, fitted.coef_[0], float(fitted.intercept_[0]))

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Log-odds float32[sample]."""
        line = self._fitted(samples)
        return np.array([line.score(pool(sample)) for sample in samples], np.float32)

    def explain(self, sample: Sample) -> Explanation:
        """What each tile adds: its share of the mean, and each whole maximum for the first tile that has it."""
        line, n = self._fitted([sample]), count(sample)
        mean, most = np.split(np.arange(len(line.weights)), 2)
        weights = line.weights / line.scale
        tiles, at = np.empty(n), 0
        held, by = np.full(len(most), -np.inf, np.float32), np.zeros(len(most), np.int64)
        for slab in (slab for bag in sample.bags for slab in checked_slabs(bag)):
            own = slab.max(axis=0)
            higher = own > held
            by[higher] = at + slab.argmax(axis=0)[higher]
            held = np.maximum(held, own)
            tiles[at : at + len(slab)] = (slab.astype(np.float64) - line.center[mean]) @ weights[mean] / n
            at += len(slab)
        np.add.at(tiles, by, (held - line.center[most]) * weights[most])
        slides, xy = places(sample, evenly(n, 0))
        return Explanation(kind="contribution", values=tiles, base=line.intercept, slide_ids=slides, xy=xy)

    def save(self, folder: Path) -> None:
        """Write `line.safetensors` and `classifier.json`."""
        line = self._fitted(())
        assert self._source is not None
        save_file({k: np.asarray(v, np.float64) for k, v in asdict(line).items()}, folder / "line.safetensors")
        facts = {"options": self._options.result_affecting(), "seed": self._seed, "source": asdict(self._source)}
        (folder / "classifier.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path) -> MeanMaxClassifier:
        """The classifier that `save` wrote; StoreError for numbers that give no valid score."""
        facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        loaded = cls(MeanMaxOptions.model_validate(facts["options"]), facts["seed"])
        source, found = Source(**facts["source"]), load_file(folder / "line.safetensors")
        intercept = found.pop("intercept", np.zeros(1))
        shapes = {name: array.shape for name, array in found.items()}
        if shapes != dict.fromkeys(("center", "scale", "weights"), (2 * source.dim,)) or not all(
            np.isfinite(array).all() for array in (*found.values(), intercept)
        ):
            raise StoreError(f"{folder}: not a model of classifier meanmax", "train the model again")
        loaded._line, loaded._source = Line(**found, intercept=float(intercept)), source
        return loaded

    def _fitted(self, samples: Sequence[Sample]) -> Line:
        """The line, after making sure that these samples suit it."""
        if self._line is None:
            raise PluginError("classifier meanmax is not fitted", "call fit or load first")
        check_source(samples, self._source)
        return self._line
