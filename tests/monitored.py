"""Patients for tests of monitoring, drawn as training or as drifting from it, and bundles and folders around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from kras_plugins.evaluation.arrivals import Arrival, frozen_reference
from kras_plugins.evaluation.distribution import AT
from kras_plugins.learning.seal import seal
from kras_plugins.study.arrivals import Row, add_rows
from kras_plugins.study.outputs import MONITOR

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LATER = BEGIN + timedelta(days=4000)
THRESHOLDS = {"rule_out": -2.6, "rule_in": -0.9}
SCANNERS = (0.6, 0.3, 0.1)


def people(
    rng: np.random.Generator,
    n: int,
    start: int = 0,
    *,
    stain: float = 0.0,
    scanners: Sequence[float] = SCANNERS,
    score: float = 0.0,
    prevalence: float = 0.0,
    feature: float = 0.0,
    features: int = 4,
) -> list[Arrival]:
    """Patients, one an hour from hour `start` on; shifts in standard deviations, of `prevalence` in log odds."""
    logit = rng.normal(-1.9, 0.9, n)
    label = rng.random(n) < 1 / (1 + np.exp(-(logit + prevalence)))
    values = rng.normal(size=(n, features))
    values[:, 0] += feature
    scanner = rng.choice(["Alpha", "Beta", "Gamma"], n, p=scanners)
    density = rng.normal([0.4, 0.6, 0.3], 0.06, (n, 3)) + 0.06 * stain
    quality = rng.choice(["pass", "warn", "fail"], n, p=[0.8, 0.17, 0.03])
    scope = rng.random(n) < 0.85
    when = [(BEGIN + timedelta(hours=start + i)).isoformat() for i in range(n)]
    return [
        Arrival(
            patient_id=f"p{start + i}",
            when=when[i],
            scanner=str(scanner[i]),
            mpp=0.5 if i % 3 else 0.25,
            stain=(float(density[i, 0]), float(density[i, 1]), float(density[i, 2])),
            quality=quality[i],
            in_scope=bool(scope[i]),
            histology="LUAD" if i % 4 else "LUSC",
            fold_score=float(logit[i] + 0.9 * score),
            score=float(logit[i] + 0.9 * score),
            features={f"f{k}": float(values[i, k]) for k in range(features)},
            label=bool(label[i]),
            labeled=when[i],
        )
        for i in range(n)
    ]


def facts(training: Sequence[Arrival]) -> dict[str, Any]:
    """What a bundle keeps of these patients."""
    scope = [a for a in training if a.in_scope]
    quantiles = {
        name: [float(f"{q:.6g}") for q in np.percentile([a.features[name] for a in scope], AT)]
        for name in training[0].features
    }
    distribution = {"n": len(scope), "at": list(AT), "features": quantiles}
    return {
        "target": "g12c",
        "prevalence": 0.2,
        "baselines": {"histology_only": {"": 0.2, "adenocarcinoma": 0.25, "squamous": 0.05}},
        "readers": {},
        "operating_points": {},
        "distribution": distribution,
        "reference": frozen_reference(training, distribution, THRESHOLDS),
    }


def bundle(folder: Path, stated: dict[str, Any]) -> str:
    """A sealed bundle that states these facts; its one model is empty. Gives its digest."""
    model = folder / "models/fold-0/rf"
    model.mkdir(parents=True)
    (model / "empty.json").write_text("{}")
    content = {
        "schema_version": 3,
        "facts": stated,
        "thresholds": {"ensemble": THRESHOLDS},
        "provenance": {"demonstration": []},
        "inputs": {"encoder": None, "transform_hash": None, "features": sorted(stated["distribution"]["features"])},
        "fusion": {"kind": "logit", "folds": [{}]},
        "members": [
            {
                "name": "rf", "plugin": "rf", "identity": "classifier:rf", "options": {}, "consumes": "profile",
                "folds": [{"model": "models/fold-0/rf", "slope": 1.0, "intercept": 0.0}],
            }
        ],
    }  # fmt: skip
    (folder / "bundle.json").write_text(json.dumps(content))
    return seal(folder)


def predictions(folder: Path, digest: str, arrivals: Sequence[Arrival], in_training: int = 0) -> Path:
    """A folder as `kras predict` leaves it, as far as monitoring looks; the first `in_training` were in training."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"bundle_digest": digest, "calls": []}))
    unlabeled = [replace(a, label=None, labeled="") for a in arrivals]
    add_rows(folder / MONITOR, [Row(arrival=a, in_training=i < in_training) for i, a in enumerate(unlabeled)])
    return folder
