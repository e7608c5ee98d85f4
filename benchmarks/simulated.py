"""Simulated cohorts for `evidence.py`: fixed scores, and patients with features that a small model is fitted on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from kras_plugins import ClassifierPlugin, Cohort, Explanation, Options, Sample, SemanticProfile
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.thresholds import choose_thresholds
from kras_plugins.learning.bundle import Bundle, load_bundle, write_bundle
from kras_plugins.learning.experiment import Experiment, Member, cross_validate
from kras_plugins.store import Store

FEATURES = 8


def separation(area: float) -> float:
    """Distance of the means of two normal scores of variance 1 whose AUROC is `area`."""
    return float(norm.ppf(area) * np.sqrt(2))


def calibrated(score: np.ndarray, area: float, prevalence: float) -> np.ndarray:
    """The true logit of a normal score: log likelihood ratio plus the log odds of the prevalence."""
    d = separation(area)
    return d * score - d * d / 2 + np.log(prevalence / (1 - prevalence))


def correlated_scores(labels: np.ndarray, area: float, seed: Sequence[int]) -> np.ndarray:
    """Two normal scores of correlation 0.6 within each class, both of AUROC `area`: float64[2 patient]."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=len(labels)), rng.normal(size=(2, len(labels)))
    return np.sqrt(0.6) * common + np.sqrt(0.4) * own + separation(area) * labels


class Ridge:
    """Logistic regression with a ridge of 1 on some of the features, by Newton's method."""

    def __init__(self, columns: Sequence[int], weights: np.ndarray | None = None) -> None:
        self.columns, self.weights = list(columns), weights

    def design(self, samples: Sequence[Sample]) -> np.ndarray:
        values = np.stack([s.profile.values for s in samples])[:, self.columns]
        return np.c_[values, np.ones(len(values))]

    def fit(self, train: Cohort, valid: Cohort) -> None:
        x, y = self.design(train.samples), train.labels
        w = np.zeros(x.shape[1])
        w[-1] = np.log(y.mean() / (1 - y.mean()))
        ridge = np.diag(np.r_[np.ones(len(w) - 1), 0.0])
        for _ in range(8):
            p = expit(x @ w)
            w += np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, x.T @ (y - p) - ridge @ w)
        self.weights = w

    def predict(self, samples: Sequence[Sample]) -> np.ndarray:
        return (self.design(samples) @ self.weights).astype(np.float32)

    def explain(self, sample: Sample) -> Explanation:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        (folder / "weights.json").write_text(json.dumps(self.weights.tolist()))

    @classmethod
    def load(cls, columns: Sequence[int], folder: Path) -> Ridge:
        return cls(columns, np.array(json.loads((folder / "weights.json").read_text())))


def members() -> list[Member]:
    """Two models that share some of their features, so that their scores correlate like those of an ensemble."""
    parts = {"first": range(0, 6), "second": range(2, FEATURES)}
    return [
        Member(
            name=name,
            plugin=ClassifierPlugin(
                name=name,
                summary="for the benchmark",
                consumes=SemanticProfile,
                create=lambda _options, _seed, columns=columns: Ridge(columns),
                load=partial(Ridge.load, columns),
            ),
            options=Options(),
            identity=f"benchmark {name}",
        )
        for name, columns in parts.items()
    ]


def patients(
    n_positive: int, n_negative: int, area: float, seed: int, features: int = FEATURES
) -> tuple[list[Sample], np.ndarray]:
    """Patients with normal features whose best linear score has the AUROC `area`; positives first."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n_positive + n_negative) < n_positive).astype(np.int8)
    shift = np.full(features, separation(area) / np.sqrt(features))
    values = rng.normal(size=(len(labels), features)) + labels[:, None] * shift
    names = tuple(f"f{i}" for i in range(features))
    samples = [
        Sample(
            patient_id=f"p{i}",
            profile=SemanticProfile(id=f"p{i}", names=names, values=row, valid={}, source="simulated"),
        )
        for i, row in enumerate(values)
    ]
    return samples, labels


@dataclass(frozen=True)
class Outcome:
    """One simulated study: its cross-validated AUROC, the true one of its fold models, and the frozen rules on new
    patients."""

    covered: bool
    value: float
    truth: float
    sensitivity: float
    specificity: float


def study(
    n_positive: int, n_negative: int, area: float, fresh: list[Sample], fresh_labels: np.ndarray, seed: int
) -> Outcome:
    """Nested cross-validation and bundle as `kras run` makes them, applied to new patients."""
    samples, labels = patients(n_positive, n_negative, area, seed)
    blank = [""] * len(labels)
    with tempfile.TemporaryDirectory() as folder:
        experiment = cross_validate(
            samples, labels, blank, blank, members(),
            store=Store(Path(folder) / "store"), sample_keys=[s.patient_id for s in samples], seed=seed,
        )  # fmt: skip
        bundle = _frozen(experiment, Path(folder) / "bundle")
    found = auroc(labels, experiment.ensemble.strict, Design(experiment.fold.astype(np.int_), (), 5))
    scores = bundle.score(fresh)
    folds = scores.ensemble_by_fold
    truth = auroc(fresh_labels, folds).value
    logit, positive, thresholds = scores.ensemble.strict, fresh_labels > 0, bundle.thresholds["ensemble"]
    return Outcome(
        covered=found.low <= truth <= found.high,
        value=found.value,
        truth=truth,
        sensitivity=float((logit[positive] >= thresholds["target_sensitivity"]).mean()),
        specificity=float((logit[~positive] < thresholds["target_specificity"]).mean()),
    )


def _frozen(experiment: Experiment, folder: Path) -> Bundle:
    thresholds = {"ensemble": choose_thresholds(experiment.labels, experiment.ensemble.strict[0])}
    write_bundle(folder, experiment, facts={}, thresholds=thresholds, provenance={})
    plugins = {m.name: m.plugin for m in experiment.members}
    return load_bundle(folder, lambda name, saved: plugins[name].load(saved))
