"""A DiagnosticReport, validated by the models of fhir.resources."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from fhir.resources.diagnosticreport import DiagnosticReport as R5
from fhir.resources.R4B.diagnosticreport import DiagnosticReport as R4B
from left_results import BUNDLE, left, not_assessable
from made_cases import fake_case

from kras_plugins.service.leaving.fhir import diagnostic_report
from kras_plugins.service.leaving.finished import finished
from kras_plugins.service.leaving.pdf import RESEARCH


@pytest.mark.parametrize("release", [R4B, R5], ids=["R4B", "R5"])
@pytest.mark.parametrize("case", [fake_case(), not_assessable()], ids=["scored", "not assessable"])
def test_the_report_is_valid_and_says_call_probability_bundle_and_what_it_is_not(
    tmp_path: Path, release: type[R5], case: object
) -> None:
    written = left(tmp_path, case)  # type: ignore[arg-type]
    done = finished(tmp_path, written.prediction.patient_id)
    value = json.loads(json.dumps(diagnostic_report(done, b"%PDF")))
    report = release.model_validate(value)
    assert (report.status, report.subject.identifier.value) == ("preliminary", "TCGA-05-4244")
    assert report.conclusion.startswith(RESEARCH)
    assert base64.b64decode(value["presentedForm"][0]["data"]) == b"%PDF"
    (found,) = report.contained
    assert BUNDLE in found.device.display
    numbers = {c.code.text: float(c.valueQuantity.value) for c in found.component if c.valueQuantity is not None}
    if written.assessable:
        assert found.valueCodeableConcept.text == "Indeterminate"
        assert numbers == {
            "Calibrated probability": 0.108,
            "Rule-in threshold: at or above": 0.16,
            "Rule-out threshold: below": 0.031,
        }
    else:
        assert found.valueCodeableConcept.text == "Not assessable"
        assert numbers == {}
        assert "all slides failed quality control" in report.conclusion
