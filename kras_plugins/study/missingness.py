"""Features made elsewhere must not reveal a patient's stratum, and so the label, by what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kras_plugins.errors import ConfigError

if TYPE_CHECKING:
    from kras_plugins.learning.samples import Case

NOISE_LIMIT = 0.001
"""A feature that is wholly missing in a site counts as no accident where chance makes it rarer than this."""
SITE_PATIENTS = 5


def check_features(cases: Sequence[Case], target: str) -> None:
    """Raise ConfigError where features made elsewhere say more than they should.

    A feature wholly missing in one histology, cohort or site but not elsewhere would tell the stratum, and with it the
    label, by its absence. Of a site there must be five patients, and less than one chance in 1,000 that all of them
    lack what others have (Laplace's rule for the others' share). A feature named like the target or like a column of
    the cohort would be the label or a covariate in disguise.
    """
    profiles = [case.sample.profile for case in cases]
    first = next((p for p in profiles if p is not None), None)
    if first is None or any(p is not None and p.names != first.names for p in profiles):
        return  # different columns are refused, with both patients named, where learning begins
    known = {target.lower(), *(name.lower() for case in cases for name in case.patient.covariates)}
    disguised = [name for name in first.names if name.lower() in known]
    if disguised:
        raise ConfigError(
            f"feature columns named like columns of the cohort: {', '.join(disguised[:5])}",
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
                    "what is missing would tell the stratum: strip endings that differ (profiler.import.suffixes), "
                    "leave those columns out (profiler.import.features), or leave the stratum out",
                )


def _stratum(case: Case, column: str) -> str:
    patient = case.patient
    return {"histology": patient.histology, "site": patient.site}.get(column, patient.covariates.get(column, ""))


def _names(of: Iterable[str]) -> list[str]:
    return sorted({str(name) for name in of if name})
