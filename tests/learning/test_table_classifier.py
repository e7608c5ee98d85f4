"""Any model on a table is a whole classifier: what it sees, how its scores are explained, how it is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.svm import SVC

from kras_plugins import (
    Cohort,
    ConfigError,
    PluginError,
    Sample,
    SemanticProfile,
    StoppingTableClassifier,
    StoreError,
    TableClassifier,
    TableOptions,
    dump_skops,
    load_skops,
)  # fmt: skip
from kras_plugins.learning.table_classifier import contributions
from kras_plugins.learning.tabular import Preprocessor

TREES = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


class Means(TableClassifier):
    """The difference of class means as weights."""

    options_type = TableOptions

    def learn(self, x: Any, y: Any) -> None:
        self.weights = x[y == 1].mean(0) - x[y == 0].mean(0)

    def score(self, x: Any) -> Any:
        return np.tanh(x @ self.weights)

    def write(self, folder: Path) -> None:
        np.save(folder / "weights.npy", self.weights)

    def read(self, folder: Path) -> None:
        self.weights = np.load(folder / "weights.npy")


class Stump(StoppingTableClassifier):
    """The one split, in the features' own units, that best separates patients it does not learn from."""

    options_type = TableOptions
    scaled = False

    def learn(self, x: Any, y: Any, valid_x: Any, valid_y: Any) -> None:
        self.seen, self.stopped_on = (x, y), (valid_x, valid_y)
        found = [(((valid_x[:, i] > t) == valid_y).mean(), i, t) for i in range(x.shape[1]) for t in x[:, i]]
        _, self.column, self.threshold = max(found)

    def score(self, x: Any) -> Any:
        return (x[:, self.column] > self.threshold) * 1.0

    def write(self, folder: Path) -> None:
        (folder / "stump.json").write_text(json.dumps([int(self.column), float(self.threshold)]))

    def read(self, folder: Path) -> None:
        self.column, self.threshold = json.loads((folder / "stump.json").read_text())


def cohort(n: int, seed: int) -> Cohort:
    values = np.random.default_rng(seed).normal(size=(n, 4))
    samples = [
        Sample(
            patient_id=f"{seed}-{i}",
            profile=SemanticProfile(id=str(i), names=tuple("abcd"), values=row, valid={}, source="s"),
        )
        for i, row in enumerate(values)
    ]
    labels = (values[:, 1] > 0).astype(np.int8)
    return Cohort(samples=samples, labels=labels, groups=[s.patient_id for s in samples])


def fitted() -> tuple[Means, Cohort, Cohort]:
    train, valid = cohort(40, 0), cohort(20, 1)
    model = Means(TableOptions(), seed=3)
    model.fit(train, valid)
    return model, train, valid


def test_the_model_sees_all_patients_it_may_learn_from_filled_and_scaled_on_them() -> None:
    model, train, valid = fitted()
    samples = [*train.samples, *valid.samples]
    x, y = Preprocessor.fit(samples).scaled(samples), np.concatenate([train.labels, valid.labels])
    np.testing.assert_allclose(model.weights, x[y == 1].mean(0) - x[y == 0].mean(0))
    scores = model.predict(valid.samples)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.tanh(x[40:] @ model.weights), rtol=1e-6)
    assert model.predict([]).shape == (0,)


def test_one_that_stops_early_learns_from_the_training_part_and_chooses_columns_on_it_alone(tmp_path: Path) -> None:
    train, valid = cohort(40, 0), cohort(20, 1)
    model = Stump(TableOptions(), seed=3)
    model.fit(train, valid)
    chosen = Preprocessor.fit(train.samples)
    for (x, y), part in ((model.seen, train), (model.stopped_on, valid)):
        np.testing.assert_array_equal(x, chosen.table(part.samples))
        np.testing.assert_array_equal(y, part.labels)
    model.save(tmp_path)
    again = Stump.load(tmp_path)
    np.testing.assert_array_equal(again.predict(valid.samples), model.predict(valid.samples))


def test_an_unscaled_one_is_explained_from_the_median_patient_too() -> None:
    model = Stump(TableOptions(), seed=3)
    model.fit(cohort(40, 0), cohort(20, 1))
    new = cohort(20, 2)
    for sample, score in zip(new.samples, model.predict(new.samples), strict=True):
        told = model.explain(sample)
        median = np.array(Preprocessor.fit(cohort(40, 0).samples).median)
        assert told.base == model.score(median[None])[0]
        assert told.base + told.values.sum() == score
        assert not np.delete(told.values, model.column).any()


def test_what_was_saved_is_the_same_classifier(tmp_path: Path) -> None:
    model, _, valid = fitted()
    model.save(tmp_path)
    again = Means.load(tmp_path)
    np.testing.assert_array_equal(again.predict(valid.samples), model.predict(valid.samples))
    assert json.loads((tmp_path / "classifier.json").read_text())["seed"] == 3


def test_its_record_makes_and_loads_it(tmp_path: Path) -> None:
    record = Means.record(name="means", summary="s", result_version=2)
    assert (record.name, record.options, record.result_version) == ("means", TableOptions, 2)
    assert record.consumes is SemanticProfile
    model = record.create(TableOptions(features="core"), 5)
    assert (type(model), model.options.features, model.seed) == (Means, "core", 5)
    fitted()[0].save(tmp_path)
    assert type(record.load(tmp_path)) is Means


def test_an_explanation_adds_up_to_the_score_and_names_the_columns() -> None:
    model, _, valid = fitted()
    told = model.explain(valid.samples[0])
    assert told.names == tuple("abcd")
    assert told.base + told.values.sum() == pytest.approx(float(model.predict(valid.samples[:1])[0]), abs=1e-6)


def test_an_unfitted_one_and_a_cohort_of_one_class_are_told() -> None:
    with pytest.raises(PluginError, match="not fitted"):
        Means(TableOptions(), seed=0).predict(cohort(2, 0).samples)
    train = cohort(10, 0)
    with pytest.raises(ConfigError, match="no positive"):
        Means(TableOptions(), seed=0).fit(
            Cohort(samples=train.samples, labels=train.labels * 0, groups=train.groups), train
        )


def test_contributions_of_a_line_are_weight_times_value() -> None:
    weights, row = np.array([2.0, -1.0, 0.5]), np.array([1.0, 3.0, -4.0])
    values, base = contributions(lambda x: x @ weights + 7, row, seed=0)
    np.testing.assert_allclose(values, weights * row)
    assert base == 7


def test_contributions_of_a_product_are_shared_alike_and_of_a_column_unused_are_zero() -> None:
    """The Shapley values of x0 · x1 with baseline 0 are half of it each, in closed form."""
    values, base = contributions(lambda x: x[:, 0] * x[:, 1], np.array([3.0, 4.0, 5.0]), seed=0)
    np.testing.assert_allclose(values, [6, 6, 0])
    assert base == 0


@pytest.mark.parametrize("make", [HistGradientBoostingClassifier, SVC])
def test_a_skops_file_gives_the_model_back_and_the_same_model_the_same_bytes(make: type, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = x[:, 0] > 0
    for name in ("one", "two"):
        dump_skops(make(random_state=0).fit(x, y), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    model = load_skops(tmp_path / "one", TREES)
    np.testing.assert_array_equal(model.decision_function(x), make(random_state=0).fit(x, y).decision_function(x))


def test_a_type_that_is_not_trusted_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    dump_skops(HistGradientBoostingClassifier().fit(x, x[:, 0] > 0), tmp_path / "model.skops")
    with pytest.raises(StoreError, match="TreePredictor"):
        load_skops(tmp_path / "model.skops")
    (tmp_path / "model.skops").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"model\.skops"):
        load_skops(tmp_path / "model.skops")


@pytest.mark.parametrize("damage", ["walk", "column"])
@pytest.mark.parametrize("kind", ["predictor", "forest", "boosting"])
def test_a_tree_whose_walk_would_not_end_or_leave_its_columns_is_refused(
    kind: str, damage: str, tmp_path: Path
) -> None:
    """scikit-learn looks at no bound: such a tree ends the process, or reads memory that is not its own."""
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    x = np.random.default_rng(0).normal(size=(60, 3))
    kinds = {
        "predictor": HistGradientBoostingClassifier(min_samples_leaf=5),
        "forest": RandomForestClassifier(n_estimators=3),
        "boosting": GradientBoostingClassifier(n_estimators=3),
    }
    model = kinds[kind].fit(x, x[:, 0] > 0)
    dump_skops(model, tmp_path / "sound")
    trusted = [*TREES, "numpy.dtype", "sklearn.tree._tree.Tree", "sklearn._loss.link.Interval"]
    load_skops(tmp_path / "sound", trusted)
    if kind == "predictor":
        model._predictors[0][0].nodes["left" if damage == "walk" else "feature_idx"][0] = 0 if damage == "walk" else 3
    else:
        tree = np.ravel(model.estimators_)[1].tree_
        state = tree.__getstate__()
        state["nodes"]["left_child" if damage == "walk" else "feature"][0] = 0 if damage == "walk" else 3
        tree.__setstate__(state)
    dump_skops(model, tmp_path / "damaged")
    says = "a child does not come after its parent" if damage == "walk" else "a tree asks for column 3 of 3"
    with pytest.raises(StoreError, match=says):
        load_skops(tmp_path / "damaged", trusted)
