"""Classifier `sklearn`: models of scikit-learn on the semantic profile, kept as skops files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kras_plugins import ClassifierPlugin, TableClassifier, TableOptions, dump_skops, hookimpl, load_skops

TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


class SklearnOptions(TableOptions):
    """Options of the classifier `sklearn`."""

    model: Literal["boosting", "svm"] = Field("boosting", description="histogram gradient boosting, or an RBF kernel")


class Sklearn(TableClassifier):
    """kras chooses, fills and scales the columns on the training patients; the score is the decision function."""

    options_type = SklearnOptions

    def learn(self, x: Any, y: Any) -> None:
        """Fit to float64[patient column] and labels; classes are balanced by weight."""
        from sklearn import ensemble, svm

        boosting = ensemble.HistGradientBoostingClassifier(min_samples_leaf=5)
        model: Any = {"boosting": boosting, "svm": svm.SVC()}[self.options.model]
        self.model = model.set_params(class_weight="balanced", random_state=self.seed).fit(x, y)

    def score(self, x: Any) -> Any:
        """Distance from the boundary, or log-odds; kras calibrates either."""
        return self.model.decision_function(x)

    def write(self, folder: Path) -> None:
        """Write `model.skops`, which is not a pickle."""
        dump_skops(self.model, folder / "model.skops")

    def read(self, folder: Path) -> None:
        """Read it; types that are not trusted are refused."""
        self.model = load_skops(folder / "model.skops", TRUSTED)


@hookimpl
def kras_classifiers() -> Iterable[ClassifierPlugin]:
    """Yield the record."""
    yield Sklearn.record(name="sklearn", summary="gradient boosting or a support vector machine of scikit-learn")
