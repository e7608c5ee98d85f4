"""Training, prediction, explanation and storage of the `rf` classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file

from kras_classifier_rf import RfOptions
from kras_classifier_rf.forest import Forest
from kras_plugins import Cohort, Explanation, PluginError, Sample
from kras_plugins.learning.tabular import Preprocessor, read_facts, write_facts
from kras_plugins.learning.training import check_parts

if TYPE_CHECKING:
    from kras_plugins.data import Float32


class RfClassifier:
    """scikit-learn's random forest; the score is the mean share of positives in the leaves, in [0, 1]."""

    def __init__(self, options: RfOptions, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._preprocessor: Preprocessor | None = None
        self._forest: Forest | None = None

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Grow the forest on both parts together: it stops nowhere early, so `valid` would only be lost.

        Classes are balanced within each bootstrap sample. Same data and seed give the same bytes with any number of
        threads. With fewer than about 40 patients leaves of 5 leave little more than stumps; averaged over 1,000
        random ones they still rank.
        """
        from sklearn.ensemble import RandomForestClassifier

        check_parts(train, valid)
        samples = [*train.samples, *valid.samples]
        labels = np.concatenate([train.labels, valid.labels])
        preprocessor = Preprocessor.fit(samples, self._options.features, self._options.ip_preset)
        grown = RandomForestClassifier(
            n_estimators=self._options.trees,
            max_features="sqrt",
            min_samples_leaf=self._options.min_leaf,
            class_weight="balanced_subsample",
            random_state=self._seed,
            n_jobs=self._options.jobs or -1,
        ).fit(preprocessor.table(samples).astype(np.float32), labels)
        self._forest = Forest.from_trees([tree.tree_ for tree in grown.estimators_])
        self._preprocessor = preprocessor

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Mean positive share of the leaves, float32[sample]."""
        preprocessor, forest = self._fitted()
        return forest.walk(preprocessor.table(samples).astype(np.float32))[0].astype(np.float32)

    def explain(self, sample: Sample) -> Explanation:
        """What each column adds along the paths of the trees (see `Forest.walk`); `base` is the mean of the roots."""
        preprocessor, forest = self._fitted()
        _, contribution = forest.walk(preprocessor.table([sample]).astype(np.float32))
        return Explanation(kind="contribution", values=contribution[0], base=forest.base, names=preprocessor.columns)

    def save(self, folder: Path) -> None:
        """Write `forest.safetensors` and `classifier.json`."""
        preprocessor, forest = self._fitted()
        save_file(asdict(forest), folder / "forest.safetensors")
        write_facts(folder, self._options, self._seed, preprocessor)

    @classmethod
    def load(cls, folder: Path) -> RfClassifier:
        """The classifier that `save` wrote."""
        options, seed, preprocessor = read_facts(folder, RfOptions)
        loaded = cls(options, seed)
        loaded._preprocessor = preprocessor
        loaded._forest = Forest(**load_file(folder / "forest.safetensors"))
        return loaded

    def _fitted(self) -> tuple[Preprocessor, Forest]:
        if self._preprocessor is None or self._forest is None:
            raise PluginError("classifier rf is not fitted", "call fit or load first")
        return self._preprocessor, self._forest
