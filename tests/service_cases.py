"""Cases that nothing is scored of."""

from __future__ import annotations

from typing import Any

from kras_plugins.service.cases import NewCase, NewSlide
from kras_plugins.service.leases import Outcome

BUNDLE = "b" * 64


def slide(name: str, content: str | None = None) -> NewSlide:
    """A slide of that name and content."""
    return NewSlide(slide_id=f"id-{name}", name=name, place=f"/slides/{name}.svs", fingerprint=content or name, bytes=1)


def case(patient: str = "ann", *slides: str | NewSlide, **given: Any) -> NewCase:
    """A case of that patient and those slides, or one of the patient's name."""
    made = tuple(one if isinstance(one, NewSlide) else slide(one) for one in slides or (f"{patient}-1",))
    return NewCase(
        **{"patient": f"id-{patient}", "patient_id": patient, "slides": made, "bundle_digest": BUNDLE, **given}
    )


def scored(where: str = "somewhere/1", score: float = 0.5) -> Outcome:
    """A result."""
    return Outcome(state="scored", score=score, call="rule_in", qc="pass", result=where, digest="d" * 64)
