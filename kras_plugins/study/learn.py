"""From samples to out-of-fold scores: the nested cross-validation of a prepared cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import ConfigError
from kras_plugins.learning.experiment import Experiment, cross_validate
from kras_plugins.study.audit import in_scope_of
from kras_plugins.study.elsewhere import fits_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.learning.samples import Case
    from kras_plugins.store import Store
    from kras_plugins.study.prepare import Prepared
    from kras_plugins.study.session import Session


def learn(session: Session, prepared: Prepared, cases: Sequence[Case]) -> Experiment:
    """Cross-validate. Raises ConfigError if a class has fewer usable patients than folds, or none in scope."""
    settings = prepared.settings
    labels = np.array([c.patient.label for c in cases], np.int8)
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < settings.folds:
        raise ConfigError(
            f"{prepared.table.path}: {positives} of {len(labels)} patients with usable slides are positive, "
            f"too few for {settings.folds} folds",
            "use fewer --folds, or repair the slides that were set aside",
        )
    in_scope = in_scope_of(cases)
    if len(np.unique(labels[in_scope])) < 2:
        which = "positive" if not labels[in_scope].any() else "negative"
        raise ConfigError(
            f"{prepared.table.path}: none of {int(in_scope.sum())} patients in scope ({len(labels)} in all) is {which}",
            "calls are made for non-squamous NSCLC with enough cancer on the slide: add such patients",
        )
    return cross_validated(session, prepared, cases, labels, session.store, "learning")


def cross_validated(
    session: Session,
    prepared: Prepared,
    cases: Sequence[Case],
    labels: npt.NDArray[np.int8],
    store: Store,
    stage: str,
    *,
    round_of: tuple[int, int] = (0, 1),
    keep_models: bool = True,
) -> Experiment:
    """Cross-validate as the settings say, with these labels, int8[patient]; fits are kept in `store`.

    Without models there are no baselines either: then only the ensemble is wanted.

    `stage`: its name in the progress; `round_of`: its number from 0 and the number of rounds, for a common progress.
    """
    settings, given = prepared.settings, prepared.given
    this, rounds = round_of
    return cross_validate(
        [c.sample for c in cases],
        labels,
        [c.patient.histology for c in cases],
        [c.patient.site for c in cases],
        prepared.members,
        store=store,
        sample_keys=[c.key for c in cases],
        baselines=prepared.baselines if keep_models else (),
        folds=settings.folds,
        repeats=settings.repeats,
        scheme=settings.splits,
        seed=settings.seed,
        fusion=settings.fusion,
        given_folds=None if given is None else np.stack([given[c.patient.patient_id] for c in cases], axis=1),
        in_scope=in_scope_of(cases),
        keep_models=keep_models,
        run=fits_of(session, cases),
        progress=lambda done, total, what: session.notify.step(f"{stage} {what}", this * total + done, rounds * total),
    )
