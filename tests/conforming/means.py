"""A classifier on the profile: where a patient lies between the means of both classes."""

from __future__ import annotations

import json

import numpy as np

from kras_plugins import ClassifierPlugin, Explanation, SemanticProfile, hookimpl


def row(sample, n=None):
    values = sample.profile.values
    return np.where(np.isnan(values), 1.5, values)


class Means:
    def __init__(self, weights=None):
        self.weights = weights

    def fit(self, train, valid):
        table, labels = np.stack([row(s) for s in train.samples]), np.asarray(train.labels)
        if len(np.unique(labels)) < 2:
            raise ValueError("both classes are needed")
        self.weights = table[labels == 1].mean(axis=0) - table[labels == 0].mean(axis=0)

    def predict(self, samples):
        scores = np.array([row(s, len(self.weights)) @ self.weights for s in samples])
        return scores.astype(np.float32)

    def explain(self, sample):
        return Explanation(kind="contribution", values=row(sample) * self.weights, names=sample.profile.names)

    def save(self, folder):
        (folder / "means.json").write_text(json.dumps(self.weights.tolist()))


def load(folder):
    return Means(np.array(json.loads((folder / "means.json").read_text())))


@hookimpl
def kras_classifiers():
    yield ClassifierPlugin(
        name="means", summary="means of classes", consumes=SemanticProfile, create=lambda options, seed: Means(),
        load=load,
    )  # fmt: skip
