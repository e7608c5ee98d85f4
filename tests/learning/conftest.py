"""A small cohort and a small classifier, so that every test runs the real nested cross-validation quickly."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kras_plugins import Bag, ClassifierPlugin, Cohort, Explanation, Options, Sample, SemanticProfile, TileSpec
from kras_plugins.learning.experiment import Member


def rows(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([s.profile.values for s in samples])


class Ridge:
    """Logistic regression with a ridge, by Newton's method."""

    def __init__(self, weights: np.ndarray | None = None) -> None:
        self.weights = weights

    def fit(self, train: Cohort, valid: Cohort) -> None:
        x, y = self.design(train.samples), train.labels
        w = np.zeros(x.shape[1])
        for _ in range(15):
            p = 1 / (1 + np.exp(-x @ w))
            hessian = (x * (p * (1 - p))[:, None]).T @ x + np.eye(len(w))
            w += np.linalg.solve(hessian, x.T @ (y - p) - w)
        self.weights = w

    def design(self, samples: Sequence[Sample]) -> np.ndarray:
        return np.c_[rows(samples), np.ones(len(samples))]

    def predict(self, samples: Sequence[Sample]) -> np.ndarray:
        return (self.design(samples) @ self.weights).astype(np.float32)

    def explain(self, sample: Sample) -> Explanation:
        *slopes, base = self.weights
        return Explanation(
            kind="contribution", values=slopes * sample.profile.values, base=base, names=sample.profile.names
        )

    def save(self, folder: Path) -> None:
        (folder / "weights.json").write_text(json.dumps(self.weights.tolist()))

    @classmethod
    def load(cls, folder: Path) -> Ridge:
        return cls(np.array(json.loads((folder / "weights.json").read_text())))


class BagRidge(Ridge):
    """The same on the mean tile feature."""

    def design(self, samples: Sequence[Sample]) -> np.ndarray:
        return np.c_[[s.bags[0].features.mean(axis=0) for s in samples], np.ones(len(samples))]

    def explain(self, sample: Sample) -> Explanation:
        n = len(sample.bags[0].features)
        return Explanation(kind="attention", values=np.full(n, 1 / n), xy=sample.bags[0].xy)


def member(cls: type = Ridge, name: str = "ridge", consumes: type = SemanticProfile) -> Member:
    plugin = ClassifierPlugin(
        name=name, summary="for tests", consumes=consumes, create=lambda _options, _seed: cls(), load=cls.load
    )
    return Member(name=name, plugin=plugin, options=Options(), identity=f"tests 1 {cls.__name__}")


@dataclass
class People:
    samples: list[Sample]
    labels: np.ndarray
    strata: list[str]
    sites: list[str]

    @property
    def arguments(self) -> tuple:
        return self.samples, self.labels, self.strata, self.sites

    @property
    def keys(self) -> list[str]:
        return [s.patient_id for s in self.samples]


def people(n: int = 90, signal: float = 1.2, seed: int = 0, prevalence: float = 0.3) -> People:
    """Patients with a profile of three features and a bag of four tiles, both shifted by `signal` for positives."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) < round(prevalence * n)).astype(np.int8)
    samples = []
    for i, label in enumerate(labels):
        values = np.array([signal * label, 0, 0]) + rng.normal(size=3)
        tiles = (np.array([signal * label, 0]) + rng.normal(size=(4, 2))).astype(np.float32)
        bag = Bag(
            slide_id=f"s{i}", features=tiles, xy=np.zeros((4, 2), np.int32), size=(224.0, 224.0),
            tile_spec=TileSpec(px=224, mpp=0.5), encoder="vit 1", transform_hash="abc",
        )  # fmt: skip
        profile = SemanticProfile(id=f"p{i}", names=("a", "b", "c"), values=values, valid={}, source="cells")
        samples.append(Sample(patient_id=f"p{i}", bags=(bag,), profile=profile))
    strata = ["LUAD" if rng.random() < 0.7 or y else "LUSC" for y in labels]
    return People(samples, labels, strata, [f"site{i % 12}" for i in range(n)])


@pytest.fixture(scope="session")
def make_people() -> Callable[..., People]:
    return people


@pytest.fixture(scope="session")
def make_member() -> Callable[..., Member]:
    return member


@pytest.fixture(scope="session")
def ridge() -> type[Ridge]:
    return Ridge


@pytest.fixture(scope="session")
def both(make_member: Callable[..., Member]) -> list[Member]:
    """A member on profiles and one on bags."""
    return [member(), member(BagRidge, "bag_ridge", Bag)]
