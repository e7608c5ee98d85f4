"""Training, prediction, explanation and storage of the `rf` classifier."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file

from kras_classifier_rf import RfOptions
from kras_classifier_rf.forest import Forest
from kras_plugins import TableClassifier

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.data import Float64


class RfClassifier(TableClassifier):
    """scikit-learn's random forest; the score is the mean share of positives in the leaves, in [0, 1].

    There is no early stopping, so it is grown on both parts together. With fewer than about 40 patients, leaves of 5
    allow little more than stumps; averaged over 1,000 random ones they still rank patients.
    """

    options_type = RfOptions
    scaled = False

    def learn(self, x: Float64, y: npt.NDArray[np.int8]) -> None:
        """Grow the forest, classes balanced within each bootstrap sample.

        Same data and seed give the same bytes with any number of threads.
        """
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            n_estimators=self.options.trees,
            max_features="sqrt",
            min_samples_leaf=self.options.min_leaf,
            class_weight="balanced_subsample",
            random_state=self.seed,
            n_jobs=self.options.jobs or -1,
        )
        # Each of its threads replaces Python's only list of warning filters, so they empty it now and then, and warn of
        # their own use of joblib: they get a list that is thrown away.
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("ignore")
            grown = forest.fit(x.astype(np.float32), y)
        self._forest = Forest.from_trees([tree.tree_ for tree in grown.estimators_])

    def score(self, x: Float64) -> Float64:
        """Mean positive share of the leaves, float64[patient]."""
        return self._forest.score(x.astype(np.float32))

    def contribute(self, row: Float64) -> tuple[Float64, float]:
        """What each column adds along the paths of the trees (see `Forest.walk`); the base is the mean of the roots."""
        return self._forest.walk(row[None].astype(np.float32))[1][0], self._forest.base

    def write(self, folder: Path) -> None:
        """Write `forest.safetensors`."""
        save_file(asdict(self._forest), folder / "forest.safetensors")

    def read(self, folder: Path) -> None:
        """Load what `write` wrote."""
        self._forest = Forest.from_arrays(load_file(folder / "forest.safetensors"), len(self._fitted().columns))
