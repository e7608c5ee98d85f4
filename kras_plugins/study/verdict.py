"""What `--verdict permutation` adds to a study: how often refits reach its AUROC by histology (and site) alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kras_plugins.cohort.histology import parse_histology
from kras_plugins.evaluation.auroc import auroc
from kras_plugins.evaluation.design import Design
from kras_plugins.evaluation.evaluated import ensemble_in_fold
from kras_plugins.learning.permutation import arrangements, draw, permutation_test
from kras_plugins.store import make_key
from kras_plugins.study.learn import cross_validated
from kras_plugins.study.notify import duration

if TYPE_CHECKING:
    import numpy.typing as npt

    from kras_plugins.cohort.table import Patient
    from kras_plugins.data import Bool
    from kras_plugins.learning.experiment import Experiment
    from kras_plugins.learning.samples import Case
    from kras_plugins.store import Key, Store
    from kras_plugins.study.prepare import Prepared
    from kras_plugins.study.session import Session


def permutation_verdict(
    session: Session, prepared: Prepared, cases: Sequence[Case], experiment: Experiment
) -> dict[str, Any]:
    """The entry `verdict` of metrics.json: the ensemble's AUROC against refits with permuted labels.

    Labels are permuted within histology, and within site if splits are by site. If nothing can be permuted, p is None
    and `note` says so. After the first refit, the expected duration is reported.
    """
    settings = prepared.settings
    by_site = settings.splits == "site"
    within = ["histology", "site"] if by_site else ["histology"]
    groups = exchangeable([c.patient for c in cases], experiment.in_scope, by_site=by_site)
    observed, possible = ensemble_auroc(experiment), arrangements(experiment.labels, groups)
    permutations = 0 if possible == 1 or math.isnan(observed) else settings.permutations

    def refit(b: int, labels: npt.NDArray[np.int8], scratch: Store) -> float:
        stage, place = f"permutation {b + 1}:", (b, permutations)
        return ensemble_auroc(
            cross_validated(session, prepared, cases, labels, scratch, stage, round_of=place, keep_models=False)
        )

    test = permutation_test(
        observed,
        draw(experiment.labels, groups, permutations, settings.seed),
        refit,
        store=session.store,
        made_from=_made_from(prepared, cases, observed),
        ahead=lambda refits, seconds: session.notify.note(time_ahead(refits, seconds)),
    )
    note = _note(observed, possible, test.failed, permutations, " and ".join(within))
    if math.isnan(test.p):
        session.notify.warn(f"no permutation test: {note}")
    return {
        "kind": "permutation",
        "p": _known(test.p),
        "permutations": permutations,
        "observed": _known(observed),
        "null_mean": _known(test.null_mean),
        "within": within,
        "note": note,
    }


def exchangeable(patients: Sequence[Patient], in_scope: Bool, *, by_site: bool) -> list[tuple[str, ...]]:
    """The group of each patient within which labels may be permuted: parsed histology, scope, and site.

    `in_scope`: bool[patient]; two patients of one histology may differ in it by their slides. A patient of an unknown
    site is a site by itself.
    """
    return [
        (parse_histology(p.histology), str(here), *([p.site or f"of {p.patient_id}"] if by_site else []))
        for p, here in zip(patients, in_scope.tolist(), strict=True)
    ]


def time_ahead(refits: int, seconds: float) -> str:
    """`98 more refits take about 12 min`."""
    lasting = duration(seconds)
    return (
        f"{refits} more refit{'s take' if refits > 1 else ' takes'} {'about ' if lasting[0].isdigit() else ''}{lasting}"
    )


def ensemble_auroc(experiment: Experiment) -> float:
    """The ensemble's AUROC as in metrics.json."""
    ranking = ensemble_in_fold(experiment)
    here = np.isfinite(ranking).all(axis=0) & experiment.in_scope
    return auroc(experiment.labels[here], ranking[:, here], Design(experiment.fold[:, here].astype(np.int_))).value


def _made_from(prepared: Prepared, cases: Sequence[Case], observed: float) -> Key:
    """All that a refit depends on except its labels. `observed` represents how the statistic itself is computed."""
    settings, given = prepared.settings, prepared.given
    return make_key(
        "experiment",
        members=[
            {
                "identity": m.identity,
                "name": m.plugin.name,
                "result_version": m.plugin.result_version,
                "options": m.options.result_affecting(),
            }
            for m in prepared.members
        ],
        patients=[(c.patient.patient_id, c.key, c.patient.histology, c.patient.site) for c in cases],
        folds=settings.folds,
        repeats=settings.repeats,
        splits=settings.splits,
        seed=settings.seed,
        fusion=settings.fusion,
        given=None if given is None else [list(map(int, given[c.patient.patient_id])) for c in cases],
        observed=_known(observed),
    )


def _note(observed: float, possible: int, failed: int, permutations: int, within: str) -> str:
    """What a reader must know about the test, "" if nothing."""
    if possible == 1:
        return f"within {within} all labels are equal, so there is nothing to permute"
    if math.isnan(observed):
        return "the ensemble has no AUROC"
    notes = []
    if possible <= permutations:
        notes.append(f"within {within} the labels have only {possible} arrangements, so p is hardly below 1/{possible}")
    if failed:
        notes.append(f"{failed} permutations could not be fitted and count as reaching the observed AUROC")
    return "; ".join(notes)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
