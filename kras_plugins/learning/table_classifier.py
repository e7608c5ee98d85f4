"""A classifier on the semantic profile in a few lines: patients become a table of numbers, any model learns from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from kras_plugins.contracts.classifier import ClassifierPlugin, Cohort
from kras_plugins.data import Explanation, Sample, SemanticProfile
from kras_plugins.errors import PluginError
from kras_plugins.learning.options import TableOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kras_plugins.data import Float32, Float64
    from kras_plugins.learning.tabular import Preprocessor

ORDERS = 8
"""Random orders in which an explanation sets the features to their values."""


class OnTable(ABC):
    """A classifier on a table except for its `fit`: it scores, explains and saves; see TableClassifier."""

    options_type: ClassVar[type[TableOptions]]

    scaled: ClassVar[bool] = True
    """Whether columns are scaled and clipped to ±5; trees need neither, and split at values a pathologist can read."""

    def __init__(self, options: Any, seed: int) -> None:
        self.options = options
        self.seed = seed
        self._preprocessor: Preprocessor | None = None

    @classmethod
    def record(cls, *, name: str, summary: str, result_version: int = 1) -> ClassifierPlugin:
        """The record that a hook yields for this class."""
        return ClassifierPlugin(
            name=name,
            summary=summary,
            options=cls.options_type,
            result_version=result_version,
            consumes=SemanticProfile,
            create=cls,
            load=cls.load,
        )

    @abstractmethod
    def score(self, x: Float64) -> npt.NDArray[Any]:
        """Scores [patient], higher for the positive class, on any scale, each from its own row alone."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Save the model (`dump_skops`, safetensors, npy, ONNX, text or JSON), always the same bytes; no pickle."""

    @abstractmethod
    def read(self, folder: Path) -> None:
        """Load what `write` wrote."""

    @abstractmethod
    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Choose columns (`choose_columns`), make the table (`table`) and fit the model to it."""

    def predict(self, samples: Sequence[Sample]) -> Float32:
        """Raw scores float32[sample]."""
        import numpy as np

        self._fitted()
        if not samples:
            return np.empty(0, np.float32)
        return np.asarray(self.score(self.table(samples)), np.float32)

    def explain(self, sample: Sample) -> Explanation:
        """What each column adds to the score of one patient; see `contribute`."""
        values, base = self.contribute(self.table([sample])[0])
        return Explanation(kind="contribution", values=values, base=base, names=self._fitted().columns)

    def contribute(self, row: Float64) -> tuple[Float64, float]:
        """What each column of float64[column] adds to the score, float64[column], and the base that they add to.

        Shapley values against the median patient, sampled: see `contributions`. A model with exact values overrides
        this.
        """
        return contributions(self.score, row, self.seed, None if self.scaled else self._fitted().median)

    def save(self, folder: Path) -> None:
        """Write the model, and `classifier.json` with options, seed and the choice and scale of columns."""
        from kras_plugins.learning.tabular import write_facts

        write_facts(folder, self.options, self.seed, self._fitted())
        self.write(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The classifier that `save` wrote."""
        from kras_plugins.learning.tabular import read_facts

        options, seed, preprocessor = read_facts(folder, cls.options_type)
        loaded = cls(options, seed)
        loaded._preprocessor = preprocessor
        loaded.read(folder)
        return loaded

    def choose_columns(self, samples: Sequence[Sample]) -> None:
        """Choose the table's columns, with medians and spreads, on the patients to learn from."""
        from kras_plugins.learning.tabular import Preprocessor

        self._preprocessor = Preprocessor.fit(samples, self.options.features, self.options.ip_preset)

    def table(self, samples: Sequence[Sample]) -> Float64:
        """The table float64[patient column] that the model sees; PluginError if no columns were chosen yet."""
        preprocessor = self._fitted()
        return preprocessor.scaled(samples) if self.scaled else preprocessor.table(samples)

    def _fitted(self) -> Preprocessor:
        if self._preprocessor is None:
            raise PluginError(f"classifier {type(self).__name__} is not fitted", "call fit or load first")
        return self._preprocessor


class TableClassifier(OnTable):
    """A Classifier whose model sees float64[patient column]; a subclass gives `learn`, `score`, `write` and `read`.

    Columns are the features of the semantic profile that vary and are not redundant, with missing values replaced by
    the median, scaled and clipped to ±5 (`kras_plugins.learning.tabular.Preprocessor`), all as fitted on the training
    patients. `self.options` is of `options_type`, which derives from TableOptions; `self.seed` seeds what is random.
    """

    @abstractmethod
    def learn(self, x: Float64, y: npt.NDArray[np.int8]) -> None:
        """Fit the model to x float64[patient column] and labels int8[patient]; both classes are present."""

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Learn from both parts together: nothing stops early, so `valid` would only be lost."""
        import numpy as np

        from kras_plugins.learning.training import check_parts

        check_parts(train, valid)
        samples = [*train.samples, *valid.samples]
        self.choose_columns(samples)
        self.learn(self.table(samples), np.concatenate([train.labels, valid.labels]))


class StoppingTableClassifier(OnTable):
    """A TableClassifier whose model stops when the scores of patients it does not learn from no longer improve."""

    @abstractmethod
    def learn(self, x: Float64, y: npt.NDArray[np.int8], valid_x: Float64, valid_y: npt.NDArray[np.int8]) -> None:
        """Fit the model to x float64[patient column] and labels int8[patient], until the second pair stops it."""

    def fit(self, train: Cohort, valid: Cohort) -> None:
        """Learn from `train`, whose patients alone choose the columns, and stop on `valid`."""
        import numpy as np

        from kras_plugins.learning.training import check_parts

        check_parts(train, valid)
        self.choose_columns(train.samples)
        parts = (train, valid)
        (x, valid_x), (y, valid_y) = [self.table(p.samples) for p in parts], [np.asarray(p.labels) for p in parts]
        self.learn(x, y, valid_x, valid_y)


def contributions(
    score: Callable[[Float64], npt.NDArray[Any]], row: Float64, seed: int, start: npt.ArrayLike | None = None
) -> tuple[Float64, float]:
    """What each column of float64[column] adds to the score: float64[column], and the base that they add to.

    The base is the score of `start`; zeros, its default, are the median patient of a scaled table. Columns are set to
    their values one after the other; the change at each step belongs to that column, averaged over 8 random orders,
    each taken forwards and backwards: Shapley values with a baseline by permutation sampling (Castro et al. 2009,
    Comput. Oper. Res. 36:1726). Their sum is exact in any order.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    n = len(row)
    first = np.zeros(n) if start is None else np.asarray(start, np.float64)
    orders = [order for _ in range(ORDERS) for order in _both_ways(rng.permutation(n))]
    values = np.zeros(n)
    for order in orders:
        steps = np.where(np.tri(n + 1, n, -1, bool)[:, np.argsort(order)], row, first)
        values[order] += np.diff(np.asarray(score(steps), np.float64))
    base = float(np.asarray(score(first[None]), np.float64)[0])
    return values / len(orders), base


def _both_ways(order: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return order, order[::-1]
