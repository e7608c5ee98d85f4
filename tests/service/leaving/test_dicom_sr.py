"""A structured report, read again by highdicom and DCMTK, and judged by dciodvfy."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import pydicom
import pytest
from judged import errors_in
from left_results import BUNDLE, SERIES, dicom_slide, left, not_assessable
from made_cases import fake_case
from services import need

from kras_plugins.report.case import CasePage
from kras_plugins.service.leaving import codes
from kras_plugins.service.leaving.dicom_sr import structured_report
from kras_plugins.service.leaving.finished import Finished, finished
from kras_plugins.service.leaving.pdf import RESEARCH


def done_of(folder: Path, case: CasePage | None = None, place: Path | None = None) -> Finished:
    written = left(folder / "out", case, place)
    return finished(folder / "out", written.prediction.patient_id)


def said(data: bytes) -> tuple[dict[str, float], dict[str, str], list[str]]:
    """Measurements, codes and texts of a report, by what they mean."""
    numbers: dict[str, float] = {}
    coded: dict[str, str] = {}
    texts: list[str] = []

    def walk(item: pydicom.Dataset) -> None:
        for child in item.get("ContentSequence", []):
            name = child.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in child else ""
            if child.ValueType == "NUM":
                numbers[name] = float(child.MeasuredValueSequence[0].NumericValue)
            elif child.ValueType == "CODE":
                coded[name] = child.ConceptCodeSequence[0].CodeMeaning
            elif child.ValueType == "TEXT":
                texts.append(child.TextValue)
            walk(child)

    walk(pydicom.dcmread(io.BytesIO(data)))
    return numbers, coded, texts


def test_a_report_says_target_call_probability_thresholds_bundle_and_what_it_is_not(tmp_path: Path) -> None:
    dicom_slide(tmp_path / "slide")
    case = fake_case()
    case = replace(case, prediction=replace(case.prediction, cautions=("in training",)), demonstration=("drawn",))
    done = done_of(tmp_path, case, tmp_path / "slide" / "1.dcm")
    data = structured_report(done)
    assert data == structured_report(done)
    numbers, coded, texts = said(data)
    assert numbers == {
        codes.PROBABILITY.meaning: 0.108, codes.RULE_IN_AT.meaning: 0.16, codes.RULE_OUT_AT.meaning: 0.031,
        codes.PREVALENCE.meaning: 0.067,
    }  # fmt: skip
    assert coded[codes.TARGET.meaning] == "KRAS G12C"
    assert coded[codes.CALL.meaning] == "Indeterminate"
    assert coded[codes.QUALITY.meaning] == codes.QUALITIES["warn"].meaning
    for text in (RESEARCH, "Demonstration: drawn", "Caution: in training", f"bundle sha256 {BUNDLE}"):
        assert text in texts
    assert any("pen on 4 % of the tissue" in text for text in texts)
    assert errors_in(data, tmp_path) == []

    report = highdicom.sr.srread(io.BytesIO(data))
    assert (report.SOPClassUID, report.PreliminaryFlag, report.VerificationFlag) == (
        "1.2.840.10008.5.1.4.1.1.88.22", "PRELIMINARY", "UNVERIFIED"
    )  # fmt: skip
    (group,) = report.content.get_image_measurement_groups()
    assert group.source_images[0].referenced_sop_instance_uid == f"{SERIES}.1"
    ((study, series, instance, _),) = report.get_evidence()
    assert (series, instance) == (SERIES, f"{SERIES}.1")
    assert study != report.StudyInstanceUID


def test_dcmtk_reads_the_report_as_a_tree(tmp_path: Path) -> None:
    need(shutil.which("dsrdump") is not None, "dsrdump", "apt-get install dcmtk")
    file = tmp_path / "report.dcm"
    file.write_bytes(structured_report(done_of(tmp_path)))
    told = subprocess.run(["dsrdump", file], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert 'NUM:(,,"Calibrated probability")="0.108"' in told.stdout
    assert '(202,99KRAS,"Indeterminate")' in told.stdout


def test_one_who_is_not_assessable_has_a_reason_and_no_number(tmp_path: Path) -> None:
    data = structured_report(done_of(tmp_path, not_assessable()))
    numbers, coded, texts = said(data)
    assert numbers == {}
    assert coded[codes.CALL.meaning] == "Not assessable"
    assert "Reason: all slides failed quality control" in texts
    assert errors_in(data, tmp_path) == []


@pytest.mark.parametrize("patient", ["a^b=c", "Łódź 7", "x" * 90])
def test_any_name_of_a_patient_fits_into_a_report(tmp_path: Path, patient: str) -> None:
    report = pydicom.dcmread(io.BytesIO(structured_report(done_of(tmp_path, fake_case(patient)))))
    assert report.PatientID == patient.replace("^", "_").replace("=", "_")[:64]
    assert len(str(report.PatientName)) <= 64


def test_no_code_of_ours_means_two_things() -> None:
    concepts = [c for v in vars(codes).values() for c in (v.values() if isinstance(v, dict) else [v])]
    values = [c.value for c in concepts if isinstance(c, codes.Concept)]
    assert len(values) == len(set(values)) > 20
    assert all(len(c.meaning) <= 64 for c in concepts if isinstance(c, codes.Concept))
