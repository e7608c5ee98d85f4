"""The page that lists all patients, on disk and served."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from kras_plugins.report.case_index import IndexRow, index_rows, render_index
from kras_plugins.report.links import OnDisk, Served
from kras_plugins.store import safe_name

TABLE = [
    {"patient_id": "B", "call": "rule_in", "ensemble": 0.4567, "reason": "", "qc": "pass", "cautions": "toy; b; x"},
    {"patient_id": "A", "call": "not_assessable", "ensemble": 0.321, "reason": "squamous", "qc": "warn: pen",
     "cautions": "toy; b"},
    {"patient_id": "B", "call": "rule_out", "ensemble": 0.01, "reason": "", "qc": "pass", "cautions": "toy; b"},
]  # fmt: skip


def rows_of(page: str) -> list[list[str]]:
    """The cells of the page's table."""
    found: list[list[str]] = []

    class Cells(HTMLParser):
        inside = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag == "tr":
                found.append([])
            self.inside = self.inside or tag in ("td", "th")
            if tag in ("td", "th"):
                found[-1].append("")

        def handle_endtag(self, tag: str) -> None:
            self.inside = self.inside and tag not in ("td", "th")

        def handle_data(self, data: str) -> None:
            if self.inside:
                found[-1][-1] += " ".join(data.split()) and data.strip()

    Cells().feed(page[page.index("<table") : page.index("</table>")])
    return found


def test_patients_stand_in_the_order_of_the_table_once_and_without_a_score_where_none_may_be_shown() -> None:
    rows = index_rows(TABLE, {"B": ["B 1", "B 2"]})
    page = render_index(rows, OnDisk(pages={"B"}), title="Two patients", target="KRAS G12C", prevalence=0.13)
    assert rows_of(page) == [
        ["Patient", "Slides", "Result", "Probability", "Quality", "Cautions"],
        ["B", "B 1, B 2", "Rule-in", "45.7 %", "pass", "x"],
        ["A", "", "Not assessable: squamous", "", "warn: pen", ""],
    ]
    assert "32.1" not in page
    assert "0.321" not in page
    assert page.count("toy; b") == 1, "what all patients are cautioned of stands once"
    assert set(re.findall(r'href="(?!data:,")([^"]*)"', page)) == {"B.html"}, "A has no page"
    assert "kras view ." in page


def test_a_single_patient_keeps_its_cautions() -> None:
    page = render_index(index_rows(TABLE[:1], {}), OnDisk(), title="One")
    assert rows_of(page)[1][-1] == "toy; b; x"


def test_the_served_page_links_to_cases_slides_and_report() -> None:
    name = safe_name("B 1")
    links = Served(slides={name}, cases={"B"})
    rows = index_rows(TABLE, {"B": ["B 1", "gone"]})
    page = render_index(rows, links, title="x", report="/report", target="KRAS G12C", out_of_fold=True)
    assert "by models that never saw the patient" in page
    assert "never saw" not in render_index(rows, links, title="x", target="KRAS G12C")
    assert set(re.findall(r'href="(?!data:,")([^"]*)"', page)) == {"/cases/B", f"/slides/{name}", "/report"}
    assert "gone" in page
    assert "kras view" not in page


def test_slides_that_nobody_scored_are_listed_without_columns_of_results() -> None:
    rows = [IndexRow(patient_id="P", slides=("S",))]
    assert rows_of(render_index(rows, Served(slides={"S"}), title="x")) == [["Patient", "Slides"], ["P", "S"]]
    assert "No patient was scored" in render_index([], OnDisk(), title="x")


@pytest.mark.parametrize("served", [False, True])
def test_a_malicious_patient_stays_text(served: bool) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    row = IndexRow(patient_id=evil, slides=(evil,), call=evil, reason=evil, probability=0.5, qc=evil, cautions=evil)
    name = safe_name(evil)
    links = Served(slides={name}, cases={name}) if served else OnDisk(pages={name})
    page = render_index([row, row], links, title=evil, target=evil, provenance=((evil, evil),))
    assert "<script" not in page
    assert "<img" not in page
    assert all(re.fullmatch(r"[A-Za-z0-9_./-]+", address) for address in re.findall(r'href="(?!data:,")([^"]*)"', page))
