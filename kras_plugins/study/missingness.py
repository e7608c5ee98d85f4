"""Missing values of features made elsewhere must not reveal a patient's stratum, and so the label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case

NOISE_LIMIT = 0.001
"""That a feature is wholly missing in a site is not an accident if its probability by chance is below this."""
SITE_PATIENTS = 5


def check_features(cases: Sequence[Case], target: str) -> None:
    """Raise ConfigError if features made elsewhere reveal more than they should.

    A feature wholly missing in one histology, cohort or site but not elsewhere would reveal the stratum, and with it
    the label, by its absence. A site must have five patients, and the probability that all of them lack what others
    have must be below 1 in 1,000 (Laplace's rule for the others' share). A feature with the name of the target or of a
    column of the cohort would be the label or a covariate in disguise.
    """
    profiles = [case.sample.profile for case in cases]
    first = next((p for p in profiles if p is not None), None)
    if first is None or any(p is not None and p.names != first.names for p in profiles):
        return  # learning refuses different columns, naming both patients
    known = {target.lower(), *(name.lower() for case in cases for name in case.patient.covariates)}
    disguised = [name for name in first.names if name.lower() in known]
    if disguised:
        raise ConfigError(
            f"feature columns have names of columns of the cohort: {', '.join(disguised[:5])}",
            "they are labels or covariates, not features: name the true ones, -o 'profiler.import.features=…*'",
        )
    blank = np.full(len(first.names), np.nan)
    missing = np.isnan(np.stack([blank if p is None else p.values for p in profiles]))
    for stratum, least, limit in (("histology", 2, 1.0), ("cohort", 2, 1.0), ("site", SITE_PATIENTS, NOISE_LIMIT)):
        of = np.array([_stratum(case, stratum) for case in cases])
        for name in _names(of):
            inside = of == name
            n = int(inside.sum())
            others = missing[~inside & (of != "")]
            if n < least or not len(others):
                continue
            by_chance = ((others.sum(0) + 1) / (len(others) + 2)) ** n
            bad = np.flatnonzero(missing[inside].all(0) & ~others.all(0) & (by_chance < limit))
            if len(bad):
                some = ", ".join(first.names[i] for i in bad[:3]) + (" …" if len(bad) > 3 else "")
                raise ConfigError(
                    f"{len(bad)} features wholly missing in {stratum} {name} ({n} patients) but not elsewhere: {some}",
                    "missing values would reveal the stratum: strip suffixes that differ (profiler.import.suffixes), "
                    "leave out those columns (profiler.import.features), or leave out the stratum",
                )


def _stratum(case: Case, column: str) -> str:
    patient = case.patient
    return {"histology": patient.histology, "site": patient.site}.get(column, patient.covariates.get(column, ""))


def _names(of: Iterable[str]) -> list[str]:
    return sorted({str(name) for name in of if name})
