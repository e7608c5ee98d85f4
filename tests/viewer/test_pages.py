"""The first page of `kras view` and case pages: from what lies in the folder, with links into the viewer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_cases import fake_case, fake_links

from kras_plugins.errors import StoreError
from kras_plugins.report.case import CasePage
from kras_plugins.report.case_page import write_case
from kras_plugins.viewer.pages import case_page, index_page
from kras_plugins.viewer.shown import Listed, Shown, ShownSlide


def unopened() -> ShownSlide:
    """A page needs no slide."""
    raise AssertionError


def shown(folder: Path | None, case: CasePage | None = None) -> Shown:
    """The case's first slide, and one that nobody scored."""
    slide = "S" if case is None else case.slides[0].slide_id
    patient = "P" if case is None else case.prediction.patient_id
    slides = [
        Listed(name=slide, slide_id=slide, patient_id=patient, open=unopened),
        Listed(name="other", slide_id="other", patient_id="Q", open=unopened),
    ]
    cases = {} if case is None or folder is None else {patient: folder / f"{patient}.case.json"}
    target = "" if case is None else case.target
    return Shown(title="two slides", slides={s.name: s for s in slides}, cases=cases, folder=folder, target=target)


def test_the_first_page_lists_scored_patients_with_their_results_and_others_with_their_slides(tmp_path: Path) -> None:
    case = fake_case()
    write_case(tmp_path, case, fake_links(case))
    columns = "patient_id,slides,rf,members,ensemble,call,reason,qc,cautions"
    row = f"{case.prediction.patient_id},x,0.1,rf,0.108,indeterminate,,pass,"
    (tmp_path / "predictions.csv").write_text(f"{columns}\n{row}\n")
    page = index_page(shown(tmp_path, case))
    assert set(re.findall(r'href="(?!data:,")([^"]*)"', page)) == {
        "/cases/TCGA-05-4244", "/slides/TCGA-05-4244-01Z-00-DX1", "/slides/other",
    }  # fmt: skip
    assert "Indeterminate" in page
    assert "10.8 %" in page
    assert "Probability of KRAS G12C" in page


def test_the_first_page_of_bare_slides_has_no_column_of_results() -> None:
    page = index_page(shown(None))
    assert set(re.findall(r'href="(?!data:,")([^"]*)"', page)) == {"/slides/S", "/slides/other"}
    assert "Probability" not in page


def test_a_case_is_shown_from_its_json_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    case = fake_case()
    write_case(tmp_path, case, fake_links(case))
    both = shown(tmp_path, case)
    (file,) = both.cases.values()
    assert 'href="/slides/TCGA-05-4244-01Z-00-DX1#x=672' in case_page(both, file)
    file.write_text("{}")
    with pytest.raises(StoreError, match="schema_version"):
        case_page(both, file)
