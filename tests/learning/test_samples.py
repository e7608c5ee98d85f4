"""From slides to patients: the results of a patient's slides, each counted once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kras_plugins.cohort.table import Patient
from kras_plugins.data import SemanticProfile, SlideRef, Squares
from kras_plugins.learning.samples import assemble
from kras_plugins.processing.pipeline import SlideResult


def result(slide: str, profile_id: str, area: float) -> SlideResult:
    profile = SemanticProfile(
        id=profile_id, names=("area_tissue",), values=np.array([area]), valid={"A": True}, source="table"
    )
    return SlideResult(
        ref=SlideRef(patient_id="p", slide_id=slide), qc=None, bags=(), profile=profile, map_folder=None,
        fingerprint="", keys=(), seconds=0.0,
    )  # fmt: skip


def patient(*slides: str) -> Patient:
    refs = tuple(SlideRef(patient_id="p", slide_id=s) for s in slides)
    return Patient(patient_id="p", slides=refs, label=1, site="", histology="LUAD", covariates={})


def test_areas_of_two_slides_add_up() -> None:
    (case,) = assemble([patient("a", "b")], [result("a", "a", 2.0), result("b", "b", 3.0)])
    assert case.sample.profile is not None
    assert case.sample.profile.values.tolist() == [5.0]


def test_a_patients_finished_row_counts_once_however_many_slides_it_came_with() -> None:
    (case,) = assemble([patient("a", "b")], [result("a", "p", 2.0), result("b", "p", 2.0)])
    assert case.sample.profile is not None
    assert case.sample.profile.values.tolist() == [2.0]


def test_other_squares_are_another_content_even_with_the_same_features() -> None:
    plain = result("a", "a", 2.0)
    assert plain.profile is not None
    some = [replace(plain, profile=replace(plain.profile, squares=Squares(*np.full((4, 3), v)))) for v in (1.0, 2.0)]
    keys = {assemble([patient("a")], [r])[0].key for r in (plain, *some)}
    assert len(keys) == 3
