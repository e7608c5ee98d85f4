"""From the settings of `kras run` to members, their cross-validation, and what its scores are evaluated with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kras_plugins.cli.common import Session
from kras_plugins.contracts.classifier import ClassifierPlugin
from kras_plugins.data import Bag, SemanticProfile
from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.cohort.folds_file import FoldCube
    from kras_plugins.cohort.table import CohortTable
    from kras_plugins.evaluation.baselines import Known
    from kras_plugins.evaluation.summary import Evaluated
    from kras_plugins.evaluation.thresholds import Targets
    from kras_plugins.learning.experiment import Experiment, Member
    from kras_plugins.learning.samples import Case


def split_names(value: str | Sequence[str]) -> list[str]:
    """Names from a comma-separated text or a list; ConfigError when there is none or one is there twice."""
    names = [n.strip() for n in (value.split(",") if isinstance(value, str) else value) if n.strip()]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--classifiers {value}: names none, or one twice", "for example --classifiers he,mlp,rf")
    return names


def opens_pixels(session: Session, settings: dict[str, Any], members: Sequence[Member]) -> bool:
    """Whether any chosen extractor or profiler reads slides, and not results made elsewhere."""
    kinds = {"extractor": Bag, "profiler": SemanticProfile}
    chosen = [k for k, consumed in kinds.items() if any(m.plugin.consumes is consumed for m in members)]
    records = [session.registry.find(k, settings[k]).record for k in chosen]
    return any(getattr(record, "load", None) is None for record in records)


def choose_members(session: Session, names: Sequence[str]) -> list[Member]:
    """The classifiers by name with their options; ConfigError for an unknown name or option."""
    from kras_plugins.learning.experiment import Member

    members = []
    for name in names:
        provided = session.registry.find("classifier", name)
        record = session.registry.record("classifier", name, ClassifierPlugin)
        options = session.config.options_for("classifier", record)
        identity = f"{provided.id} {provided.version}"
        members.append(Member(name=name, plugin=record, options=options, identity=identity, origin=provided.origin))
    return members


def learn(
    session: Session,
    table: CohortTable,
    cases: Sequence[Case],
    members: Sequence[Member],
    settings: dict[str, Any],
    given: Mapping[str, FoldCube] | None,
) -> Experiment:
    """Cross-validate with a progress bar; ConfigError where a class has fewer usable patients than there are folds.

    `given`: the folds of each patient where a file deals them, else None.
    """
    import numpy as np

    from kras_plugins.cli.progress import steps
    from kras_plugins.learning.experiment import cross_validate

    labels = np.array([c.patient.label for c in cases], np.int8)
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < settings["folds"]:
        raise ConfigError(
            f"{table.path}: {positives} of {len(labels)} patients with usable slides are positive, "
            f"too few for {settings['folds']} folds",
            "use fewer --folds, or mend the slides that were set aside",
        )
    total = settings["repeats"] * settings["folds"] * len(members)
    with steps(total, "learning") as bar:
        task = bar.task_ids[0]
        return cross_validate(
            [c.sample for c in cases],
            labels,
            [c.patient.histology for c in cases],
            [c.patient.site for c in cases],
            members,
            store=session.store,
            sample_keys=[c.key for c in cases],
            folds=settings["folds"],
            repeats=settings["repeats"],
            scheme=settings["splits"],
            seed=settings["seed"],
            fusion=settings["fusion"],
            given_folds=None if given is None else np.stack([given[c.patient.patient_id] for c in cases], axis=1),
            progress=lambda done, _total, what: bar.update(task, completed=done, description=f"learning {what}"),
        )


def evaluate_experiment(
    experiment: Experiment,
    cases: Sequence[Case],
    targets: Targets | None = None,
    known: Known | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Evaluated:
    """Out-of-fold scores with the thresholds of each fold's training part, and the baselines beside them.

    `known`: what baselines may look at, all that `settings` let them where None; `settings`: those of the audit.
    """
    from dataclasses import replace

    import numpy as np

    from kras_plugins.cli.audit import baseline_inputs
    from kras_plugins.evaluation.baselines import baseline_scores
    from kras_plugins.evaluation.scores import Scores
    from kras_plugins.evaluation.summary import Evaluated
    from kras_plugins.evaluation.thresholds import DEFAULT, fold_thresholds

    targets, settings = targets or DEFAULT, settings or {}
    known = known or baseline_inputs(cases, settings)
    labels, fold = experiment.labels, experiment.fold.astype(np.int_)
    told = targets.provenance("inner out-of-fold scores of the training part of each patient's fold")
    members = {
        m.name: Scores(
            logit=experiment.logit[m.name],
            thresholds=fold_thresholds(labels, experiment.inner[m.name], fold, targets),
            provenance=told,
            raw=experiment.raw[m.name],
            slopes=tuple(tuple(line.slope for line in repeat) for repeat in experiment.platt[m.name]),
            inner=experiment.inner[m.name],
        )
        for m in experiment.members
    }
    fused = experiment.ensemble
    baselines = baseline_scores(labels, known, fold, targets)
    return Evaluated(
        patients=[c.patient for c in cases],
        labels=labels,
        fold=fold,
        members=members,
        ensemble=Scores(
            logit=fused.strict,
            thresholds=fold_thresholds(labels, experiment.inner_ensemble, fold, targets),
            provenance=told,
            inner=experiment.inner_ensemble,
        ),
        available=Scores(logit=fused.available),
        baselines={name: replace(scores, provenance=told) for name, scores in baselines.items()},
        subgroups=settings.get("subgroups"),
        confounders=settings.get("confounders"),
        clinical=tuple(known.clinical),
    )
