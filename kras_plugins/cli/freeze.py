"""The deployable bundle of a run: what is frozen beside the models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kras_plugins.cli.common import stderr

if TYPE_CHECKING:
    from kras_plugins.evaluation.baselines import Known
    from kras_plugins.evaluation.summary import Evaluated
    from kras_plugins.learning.experiment import Experiment


def freeze(
    folder: Path,
    experiment: Experiment,
    evaluated: Evaluated,
    known: Known,
    facts: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Freeze models, calibration, thresholds of the first repeat's out-of-fold scores, and the fitted baselines."""
    from dataclasses import asdict

    from kras_plugins.cli.targets import chosen_targets
    from kras_plugins.evaluation.baselines import frozen_baselines
    from kras_plugins.evaluation.thresholds import choose_thresholds
    from kras_plugins.learning.bundle import write_bundle

    models = {**evaluated.members, "ensemble": evaluated.ensemble, **evaluated.baselines}
    labels, targets = experiment.labels, chosen_targets(settings)
    thresholds = {
        name: {rule: None if t != t else t for rule, t in choose_thresholds(labels, s.logit[0], targets).items()}
        for name, s in models.items()
    }
    cohort, source = Path(settings["cohort"]).name, "out-of-fold scores of the first repeat"
    told = {
        name: targets.provenance(
            f"{source} of {cohort}, n={int(s.scored.sum())}, {int(labels[s.scored].sum())} positive"
        )
        for name, s in models.items()
    }
    write_bundle(
        folder / "bundle",
        experiment,
        facts={
            **facts,
            "target": settings["target"],
            "baselines": frozen_baselines(labels, known, list(evaluated.baselines)),
            "prevalence": float(labels.mean()),
        },
        thresholds=thresholds,
        provenance={
            "cohort": cohort,
            "n": len(labels),
            "n_positive": int(labels.sum()),
            "thresholds_from": source,
            "targets": asdict(targets),
            "thresholds": told,
            "splits": settings["splits"],
            "folds": settings["folds"],
            "fusion": settings["fusion"],
            "seed": settings["seed"],
        },
    )
    stderr().print(f"bundle: {folder / 'bundle'}")
