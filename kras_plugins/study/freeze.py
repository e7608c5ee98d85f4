"""The deployable bundle of a study: what is frozen beside the models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.evaluation.baselines import Known, frozen_baselines
from kras_plugins.evaluation.thresholds import choose_thresholds
from kras_plugins.learning.bundle import write_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kras_plugins.evaluation.evaluated import Evaluated
    from kras_plugins.learning.experiment import Experiment
    from kras_plugins.study.prepare import Prepared


def freeze(
    folder: Path,
    experiment: Experiment,
    evaluated: Evaluated,
    known: Known,
    facts: Mapping[str, Any],
    prepared: Prepared,
    cautions: Sequence[str] = (),
) -> str:
    """Freeze models, calibration, thresholds of the first repeat's out-of-fold scores, and the fitted baselines.

    `facts`: what prediction must repeat, as JSON values; `cautions`: why the training's numbers say nothing about
    patients, if so, which every result of the bundle repeats. Returns the bundle's digest.
    """
    models = {**evaluated.members, "ensemble": evaluated.ensemble, **evaluated.baselines}
    settings, labels = prepared.settings, experiment.labels
    targets = settings.targets
    thresholds = {
        name: {rule: None if t != t else t for rule, t in choose_thresholds(labels, s.logit[0], targets).items()}
        for name, s in models.items()
    }
    cohort, source = prepared.table.path.name, "out-of-fold scores of the first repeat"
    told = {
        name: targets.provenance(
            f"{source} of {cohort}, n={int(s.scored.sum())}, {int(labels[s.scored].sum())} positive"
        )
        for name, s in models.items()
    }
    return write_bundle(
        folder / "bundle",
        experiment,
        facts={
            **facts,
            "target": settings.target,
            "baselines": frozen_baselines(labels, known, list(evaluated.baselines)),
            "prevalence": float(labels.mean()),
        },
        thresholds=thresholds,
        provenance={
            "demonstration": list(cautions),
            "cohort": cohort,
            "n": len(labels),
            "n_positive": int(labels.sum()),
            "thresholds_from": source,
            "targets": asdict(targets),
            "thresholds": told,
            "splits": settings.splits,
            "folds": settings.folds,
            "fusion": settings.fusion,
            "seed": settings.seed,
        },
    )
