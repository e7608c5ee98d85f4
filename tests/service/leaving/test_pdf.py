"""The printed result, read again by pypdf."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pypdf
import pytest
from left_results import BUNDLE, left, not_assessable
from made_cases import fake_case

from kras_plugins.report.case import CasePage
from kras_plugins.service.leaving.finished import Finished, finished
from kras_plugins.service.leaving.pdf import RESEARCH, case_pdf


def done_of(folder: Path, case: CasePage | None = None) -> Finished:
    written = left(folder / "out", case, folder / "a folder of Maria" / "slide.svs")
    return finished(folder / "out", written.prediction.patient_id)


def pages_of(data: bytes) -> list[str]:
    """The text of each page, with normalized white space."""
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(data)).pages]


def test_two_pages_say_what_the_case_page_says_first(tmp_path: Path) -> None:
    case = fake_case()
    case = replace(case, prediction=replace(case.prediction, cautions=("the patient was in training",)))
    done = done_of(tmp_path, case)
    data = case_pdf(done)
    first, second = pages_of(data)
    for said in ("KRAS G12C from H&E: patient TCGA-05-4244", "Indeterminate", "10.8 %", "where 6.7 % of patients",
                 "Caution: the patient was in training", "Quality control: warn", "16.0 %", "3.1 %",
                 "93.0 % (80.0–98.0)", "930 patients, 62 positive", "expect slightly lower values for other patients",
                 "13.2 %"):  # fmt: skip
        assert said in first, said
    for said in (f"sha256 {BUNDLE}", "kras 0.1.0", "torch 2.14.1", "2026-03-04 05:06:07 UTC", "183.4 mm²", f"{1:064x}",
                 "pen on 4 % of the tissue", "no tissue found", "62nd percentile", "not measured"):  # fmt: skip
        assert said in second, said
    assert all(RESEARCH in page for page in (first, second))
    assert "page 1 of 2" in first and "page 2 of 2" in second
    assert "Maria" not in first + second
    reader = pypdf.PdfReader(io.BytesIO(data))
    assert reader.metadata is not None and reader.metadata.title == "KRAS G12C from H&E: patient TCGA-05-4244"
    assert len(reader.pages[0].images) == 1 == len(reader.pages[1].images)


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    done = done_of(tmp_path)
    assert case_pdf(done) == case_pdf(done)


def test_one_who_is_not_assessable_has_no_number_on_paper(tmp_path: Path) -> None:
    first, second = pages_of(case_pdf(done_of(tmp_path, not_assessable())))
    assert "Not assessable" in first
    assert "Reason: all slides failed quality control" in first
    for number in ("10.8", "13.2", "16.0", "Calibrated probability"):
        assert number not in first + second


def test_a_name_is_no_markup(tmp_path: Path) -> None:
    """reportlab reads markup in paragraphs: `<img src=FILE>` would print a file of the server."""
    name = '<img src="/etc/hostname" width="9" height="9"/><b>&amp;'
    first, _ = pages_of(case_pdf(done_of(tmp_path, fake_case(name))))
    assert name in first


def test_no_caution_is_left_out_however_many_there_are(tmp_path: Path) -> None:
    case = fake_case()
    cautions = tuple(f"caution number {i}: {'words ' * 30}" for i in range(40))
    text = " ".join(
        pages_of(case_pdf(done_of(tmp_path, replace(case, prediction=replace(case.prediction, cautions=cautions)))))
    )
    assert all(f"caution number {i}:" in text for i in range(40))


@pytest.mark.parametrize("patient", ["Łódź 7", "患者", "x" * 300])
def test_any_name_fits_on_paper(tmp_path: Path, patient: str) -> None:
    assert len(pages_of(case_pdf(done_of(tmp_path, fake_case(patient))))) == 2
