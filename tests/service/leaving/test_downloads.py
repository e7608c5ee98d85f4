"""The documents that a case has, by name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pydicom
import pypdf
import pytest
from left_results import dicom_slide, left, not_assessable

from kras_plugins.report.case_json import read_case
from kras_plugins.service.leaving.downloads import UnknownDocument, document, documents
from kras_plugins.service.leaving.finished import finished

SLIDE = "TCGA-05-4244-01Z-00-DX1"
ALWAYS = ["case.pdf", "case.json", "report.dcm", "report.fhir.json"]


def test_each_document_is_of_its_kind(tmp_path: Path) -> None:
    dicom_slide(tmp_path / "slide")
    case = left(tmp_path / "out", place=tmp_path / "slide" / "1.dcm")
    done = finished(tmp_path / "out", case.prediction.patient_id)
    found = documents(done)
    assert list(found) == [*ALWAYS, f"{SLIDE}.attention.dcm", f"{SLIDE}.contribution.dcm"]
    assert len(pypdf.PdfReader(io.BytesIO(found["case.pdf"].make())).pages) == 2
    assert json.loads(found["report.fhir.json"].make())["resourceType"] == "DiagnosticReport"
    (tmp_path / "case.json").write_bytes(found["case.json"].make())
    assert read_case(tmp_path / "case.json") == case
    for name, one in found.items():
        if name.endswith(".dcm"):
            assert one.media_type == "application/dicom"
            assert pydicom.dcmread(io.BytesIO(one.make())).PatientID == "TCGA-05-4244"


def test_there_are_maps_of_dicom_slides_alone_and_no_contributions_without_a_result(tmp_path: Path) -> None:
    patient = left(tmp_path / "a").prediction.patient_id
    assert list(documents(finished(tmp_path / "a", patient))) == ALWAYS
    dicom_slide(tmp_path / "slide")
    left(tmp_path / "b", not_assessable(), tmp_path / "slide")
    done = finished(tmp_path / "b", patient)
    assert list(documents(done)) == [*ALWAYS, f"{SLIDE}.attention.dcm"]
    with pytest.raises(UnknownDocument):
        document(done, "../../secret")
