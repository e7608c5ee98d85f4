"""A cohort that looks like TCGA's and an encoder that saw TCGA: the report says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kras_plugins.study.seen_before import seen_notes


def case(patient: str, slide: str = "s") -> Any:
    return SimpleNamespace(
        patient=SimpleNamespace(patient_id=patient),
        results=(SimpleNamespace(ref=SimpleNamespace(slide_id=slide)),),
    )


def facts(tcga: bool | None) -> dict[str, Any]:
    return {"extractor": {"name": "vit", "weights": [{"model": "vit", "source": "hf:a/b/c", "tcga": tcga}]}}


COHORT = [case("TCGA-05-4244"), case("p2", "TCGA-05-4249-01Z-00-DX1"), case("p3")]


@pytest.mark.parametrize(("tcga", "said"), [(True, "Leak: TCGA slides"), (None, "Possible leak"), (False, None)])
def test_the_note_says_what_is_known_of_the_pretraining(tcga: bool | None, said: str | None) -> None:
    notes = seen_notes(facts(tcga), COHORT)
    assert bool(notes) == (said is not None)
    if said:
        assert notes[0].startswith(said)
        assert "2 of 3 patients" in notes[0]


def test_other_cohorts_and_runs_without_encoder_need_no_note() -> None:
    assert seen_notes(facts(True), [case("p1")]) == []
    assert seen_notes({}, COHORT) == []


def test_of_features_made_elsewhere_nothing_is_known() -> None:
    (note,) = seen_notes({"extractor": {"name": "h5", "weights": []}}, COHORT)
    assert note.startswith("Possible leak") and "h5" in note


def test_facts_of_a_preset_carry_what_is_known() -> None:
    from kras_extractor_vit.presets import PRESETS

    assert {n for n, p in PRESETS.items() if p.weights.tcga is False} >= {"uni", "uni2-h", "virchow", "virchow2"}
    assert PRESETS["lunit-s16"].weights.tcga is True
