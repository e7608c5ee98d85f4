"""A result as a FHIR DiagnosticReport with its Observation inside: JSON that is valid in R4, R4B and R5 alike."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kras_plugins.cohort.targets import target_label
from kras_plugins.report.case_page import CALLS
from kras_plugins.report.html import percent
from kras_plugins.service.leaving import codes as own
from kras_plugins.service.leaving.pdf import RESEARCH

if TYPE_CHECKING:
    from kras_plugins.service.leaving.finished import Finished

_OURS, _PSEUDONYM = "urn:kras:codes", "urn:kras:patient"
"""The systems of our codes (`codes`) and of patient identifiers here."""


def diagnostic_report(done: Finished, pdf: bytes | None = None) -> dict[str, Any]:
    """The result as JSON values.

    The status is `preliminary`, as nobody has verified the result. The patient is a logical reference by the name in
    the folder; `pdf` is attached. All codes are our own, for the reason given in `codes`.
    """
    case = done.case
    text = target_label(case.target)
    category = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "PAT", "display": "Pathology"}
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "id": f"kras-{done.uid('fhir')[-32:]}",
        "contained": [_observation(done)],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:oid:{done.uid('fhir')}"}],
        "status": "preliminary",
        "category": [{"coding": [category]}],
        "code": _coded(own.PREDICTION, f"{text} predicted from H&E. Research use only."),
        "subject": {"type": "Patient", "identifier": {"system": _PSEUDONYM, "value": done.patient}},
        "effectiveDateTime": done.at.isoformat(),
        "issued": done.at.isoformat(),
        "result": [{"reference": "#prediction"}],
        "conclusion": " ".join(_conclusion(done)),
    }
    if pdf is not None:
        data = base64.b64encode(pdf).decode("ascii")
        report["presentedForm"] = [{"contentType": "application/pdf", "data": data, "title": f"{text} from H&E"}]
    return report


def _observation(done: Finished) -> dict[str, Any]:
    case = done.case
    named = {"rule_in": own.RULE_IN_AT, "rule_out": own.RULE_OUT_AT}
    values = [(own.PROBABILITY, case.prediction.ensemble)]
    values += [(concept, case.thresholds[name].threshold) for name, concept in named.items() if name in case.thresholds]
    components: list[dict[str, Any]] = [
        {"code": _coded(concept), "valueQuantity": {"value": round(value, 6), **_NO_UNIT}}
        for concept, value in values
        if value is not None
    ]
    target = own.TARGETS.get(case.target, own.OTHER_TARGET)
    components.append({"code": _coded(own.TARGET), "valueCodeableConcept": _coded(target, target_label(case.target))})
    return {
        "resourceType": "Observation",
        "id": "prediction",
        "status": "preliminary",
        "code": _coded(own.CALL),
        "valueCodeableConcept": _coded(own.CALLS[case.prediction.call]),
        "effectiveDateTime": done.at.isoformat(),
        "device": {"display": f"kras {done.versions.get('kras', '')}, bundle sha256 {done.bundle}"},
        "component": components,
    }


def _conclusion(done: Finished) -> Iterator[str]:
    case = done.case
    title, meaning = CALLS[case.prediction.call]
    yield RESEARCH
    yield from (f"Demonstration: {reason}." for reason in case.demonstration)
    score = "" if case.prediction.ensemble is None else f", calibrated probability {percent(case.prediction.ensemble)}"
    yield f"{target_label(case.target)} from H&E: {title}{score}. {meaning}"
    if case.prediction.reason:
        yield f"Reason: {case.prediction.reason}."
    yield from (f"Caution: {text}." for text in case.prediction.cautions if text not in case.demonstration)


_NO_UNIT = {"system": "http://unitsofmeasure.org", "code": "1", "unit": "1"}


def _coded(concept: own.Concept, text: str = "") -> dict[str, Any]:
    coding = [{"system": _OURS, "code": concept.value, "display": concept.meaning}]
    return {"coding": coding, "text": text or concept.meaning}
