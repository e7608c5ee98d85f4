"""The deployable bundle of a study: what is frozen with the models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.evaluation.baselines import BASELINES, Known, frozen_baselines
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

    Thresholds and the prevalence are those of patients in scope.

    `facts`: what prediction must repeat, as JSON values; `cautions`: reasons, if any, why the training's numbers say
    nothing about patients; every result of the bundle repeats them. Returns the bundle's digest.
    """
    models = {**evaluated.members, "ensemble": evaluated.ensemble, **evaluated.baselines}
    settings, labels, scope = prepared.settings, experiment.labels, experiment.in_scope
    targets = settings.targets
    cohort, source = prepared.table.path.name, "out-of-fold scores of the first repeat, patients in scope,"
    told = {
        name: targets.provenance(
            f"{source} of {cohort}, n={int((s.scored & scope).sum())}, {int(labels[s.scored & scope].sum())} positive"
        )
        for name, s in models.items()
    }
    return write_bundle(
        folder / "bundle",
        experiment,
        facts={
            **facts,
            "target": settings.target,
            # A baseline that learned nothing has nothing to freeze, and one that is a classifier is not plain numbers.
            "baselines": frozen_baselines(
                labels,
                known,
                [b for b, s in evaluated.baselines.items() if s.found_something and b in BASELINES],
                scope,
            ),
            "prevalence": float(labels[scope].mean()),
        },
        thresholds=evaluated.frozen,
        provenance={
            "demonstration": list(cautions),
            "cohort": cohort,
            "n": len(labels),
            "n_positive": int(labels.sum()),
            "n_in_scope": int(scope.sum()),
            "n_positive_in_scope": int(labels[scope].sum()),
            "thresholds_from": source,
            "targets": asdict(targets),
            "thresholds": told,
            "splits": settings.splits,
            "folds": settings.folds,
            "fusion": settings.fusion,
            "seed": settings.seed,
        },
    )
