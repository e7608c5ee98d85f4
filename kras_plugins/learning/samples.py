"""Slides of one patient -> one sample: the patient is the unit from here on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from kras_plugins.data import Sample
from kras_plugins.semantics.patient import combine
from kras_plugins.slides.qc import little_tissue

if TYPE_CHECKING:
    from kras_plugins.cohort.table import Patient
    from kras_plugins.processing.pipeline import SlideResult


@dataclass(frozen=True, kw_only=True)
class Case:
    """One patient with the results of its usable slides; `key` names that content, `qc` is the verdict with reasons."""

    patient: Patient
    sample: Sample
    key: str
    qc: str
    results: tuple[SlideResult, ...]


def assemble(patients: Sequence[Patient], results: Sequence[SlideResult]) -> list[Case]:
    """The patients with at least one usable slide, in the given order."""
    by_slide = {r.ref.slide_id: r for r in results}
    cases = []
    for patient in patients:
        own = tuple(by_slide[s.slide_id] for s in patient.slides if s.slide_id in by_slide)
        if not own:
            continue
        # A patient's finished row comes with each of the patient's slides, but counts once.
        profiles = list({r.profile.id: r.profile for r in own if r.profile is not None}.values())
        sample = Sample(
            patient_id=patient.patient_id,
            bags=tuple(bag for r in own for bag in r.bags if len(bag.features)),
            profile=combine(profiles, patient.patient_id) if profiles else None,
        )
        cases.append(Case(patient=patient, sample=sample, key=_key(own), qc=_verdict(own), results=own))
    return cases


def verdict_of(qc: str) -> Literal["pass", "warn", "fail"]:
    """The verdict of a patient's quality control, without its reasons. Raises ValueError if there is none in `qc`.

    >>> verdict_of("warn: s1: pen marks over tissue (19%)")
    'warn'
    """
    verdict = qc.partition(":")[0]
    if verdict not in ("pass", "warn", "fail"):
        raise ValueError(f"no verdict of quality control: {qc!r}")
    return cast("Literal['pass', 'warn', 'fail']", verdict)


def _key(results: Sequence[SlideResult]) -> str:
    """A digest of the slides' results: the keys of bags and maps, and the features computed from maps."""
    digest = hashlib.sha256()
    for r in results:
        digest.update("|".join((r.ref.slide_id, *r.keys)).encode())
        if r.profile is not None:
            digest.update(r.profile.values.tobytes() + "|".join(r.profile.names).encode())
            if r.profile.squares is not None:
                digest.update(np.stack(astuple(r.profile.squares)).tobytes())
    return digest.hexdigest()


def _verdict(results: Sequence[SlideResult]) -> str:
    reasons = [f"{r.qc.slide_id}: {reason}" for r in results if r.qc is not None for reason in r.qc.reasons]
    reasons += filter(None, [little_tissue([r.qc for r in results if r.qc is not None])])
    return "warn: " + "; ".join(reasons) if reasons else "pass"
