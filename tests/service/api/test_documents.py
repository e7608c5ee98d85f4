"""Documents and figures of a service that scored two patients."""

from __future__ import annotations

import io
import re

import pydicom
import pypdf
from service_app import Running

from kras_plugins.service import audit
from kras_plugins.service.worklist import Filter, listed


def first(scored: Running) -> str:
    """A case that has a result."""
    return next(c.id for c in listed(scored.db, Filter(), 10).cases if c.result is not None)


def test_who_may_read_gets_each_document_and_it_counts_as_viewed(scored: Running) -> None:
    case_id, client = first(scored), scored.client("read")
    base = f"/api/v1/cases/{case_id}/documents"
    names = [one["name"] for one in client.get(base).json()]
    assert names == ["case.pdf", "case.json", "report.dcm", "report.fhir.json"]
    for name in names:
        answer = client.get(f"{base}/{name}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert b"person " not in answer.content
    assert client.get(f"{base}/case.pdf").content == client.get(f"{base}/case.pdf").content
    pages = pypdf.PdfReader(io.BytesIO(client.get(f"{base}/case.pdf").content)).pages
    assert "Research use only" in pages[0].extract_text()
    report = pydicom.dcmread(io.BytesIO(client.get(f"{base}/report.dcm").content))
    assert report.PatientID.startswith("id-")
    assert audit.entries(scored.db, case_id, limit=1000)[-1].action == "view"


def test_strangers_and_wrong_names_get_nothing(scored: Running) -> None:
    case_id = first(scored)
    assert scored.client().get(f"/api/v1/cases/{case_id}/documents").status_code == 401
    client = scored.client("read")
    assert client.get(f"/api/v1/cases/{case_id}/documents/other.pdf").status_code == 404
    assert client.get(f"/api/v1/cases/{'0' * 32}/documents").status_code == 404


def test_the_page_of_a_case_leads_to_its_documents(scored: Running) -> None:
    case_id, browser = first(scored), scored.browser()
    page = browser.get(f"/cases/{case_id}").text
    found = re.findall(rf'href="(/api/v1/cases/{case_id}/documents/[^"]+)"', page)
    assert len(found) == 4
    assert all(browser.get(address).status_code == 200 for address in found)


def test_anybody_may_ask_whether_it_is_well_and_readers_for_figures(scored: Running) -> None:
    stranger = scored.client()
    assert stranger.get("/healthz").text == "ok\n"
    ready = stranger.get("/readyz")
    assert (ready.status_code, set(ready.json().values())) == (200, {"ok"})
    assert stranger.get("/metrics").status_code in (303, 401)  # to where one logs in
    assert scored.client("submit").get("/metrics").status_code == 403
    text = scored.client("read").get("/metrics").text
    assert "kras_claims_total 2.0" in text
    assert 'route="/healthz"' in text
    assert first(scored) not in text
