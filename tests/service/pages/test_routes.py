"""The pages without a browser: what the worklist lists, what the page of a case says, and who has viewed it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import chain
from pathlib import Path

import pytest
from planted import draw_dicom
from service_app import Running, csrf_of

from kras_plugins.service import cases
from kras_plugins.service.database.engine import writing
from kras_plugins.service.database.tables import cases as table
from kras_plugins.service.database.tables import people
from kras_plugins.service.pages.rendered import STATIC
from kras_plugins.service.pages.routes import ON_A_PAGE

MANY = 2 * ON_A_PAGE + 3
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CALLS = ("rule_in", "indeterminate", "rule_out")


@pytest.fixture(scope="module")
def many(service: Running) -> Running:
    """A service with more cases than a page lists, in all states."""
    rows = []
    for i in range(MANY):
        state = ("queued", "running", "scored", "failed", "canceled")[i % 5]
        scored = state == "scored"
        rows.append(
            {
                "id": f"{i:032x}", "key": str(i), "patient": f"pseudonym-{i:04d}", "grouping": "api",
                "bundle_digest": "d", "silent": False, "version": 1, "state": state, "priority": i % 3,
                "created": BEGAN + timedelta(minutes=i), "updated": BEGAN, "score": i / 1000 if scored else None,
                "call": CALLS[i % 3] if scored else None, "qc": ("pass", "warn")[i % 2] if scored else None,
            }
        )  # fmt: skip
    with writing(service.db) as connection:
        connection.execute(table.insert(), rows)
    return service


def listed(page: str) -> list[str]:
    return re.findall(r'<a href="/cases/[0-9a-f]{32}">([^<]+)</a>', page)


def pages(service: Running, query: str = "") -> Iterator[list[str]]:
    browser, address = service.browser("read"), f"/?{query}"
    while address:
        page = browser.get(address)
        assert page.status_code == 200
        yield listed(page.text)
        following = re.search(r'<a href="([^"]+)" rel="next">', page.text)
        address = following[1].replace("&amp;", "&") if following else ""


@pytest.mark.parametrize("sort", ["newest", "oldest", "patient"])
def test_the_pages_list_every_case_once_in_their_order(many: Running, sort: str) -> None:
    found = list(pages(many, f"sort={sort}"))
    assert [len(one) for one in found] == [ON_A_PAGE, ON_A_PAGE, MANY - 2 * ON_A_PAGE]
    assert [*chain(*found)] == sorted((f"pseudonym-{i:04d}" for i in range(MANY)), reverse=sort == "newest")


@pytest.mark.parametrize(
    ("query", "those"),
    [
        ("state=failed", lambda i: i % 5 == 3),
        ("call=rule_in", lambda i: i % 5 == 2 and i % 3 == 0),
        ("qc=warn&state=scored", lambda i: i % 5 == 2 and i % 2 == 1),
        ("text=pseudonym-00", lambda i: i < 100),
        ("text=+pseudonym-0007+", lambda i: i == 7),
        (f"text={9:032x}", lambda i: i == 9),
        ("text=%25", lambda i: False),
        ("text=seudonym", lambda i: False),
    ],
)
def test_a_filter_lists_those_alone(many: Running, query: str, those: object) -> None:
    assert callable(those)
    assert [*chain(*pages(many, f"{query}&sort=oldest"))] == [f"pseudonym-{i:04d}" for i in range(MANY) if those(i)]


def test_a_person_is_found_by_the_name_that_no_page_shows(service: Running) -> None:
    (path,) = service.slides([20])
    body = {"slides": [{"path": path}], "patient": "Ada Lovelace"}
    case = service.client("submit").post("/api/v1/cases", json=body).json()
    page = service.browser("read").get("/", params={"text": "Ada Lovelace"}).text
    assert listed(page) == [case["patient"]]
    assert page.count("Lovelace") == 1, "only what was typed"
    with service.db.connect() as connection:
        assert "Ada Lovelace" in [row.patient_id for row in connection.execute(people.select())]


def test_an_empty_list_says_why_and_what_to_do(many: Running) -> None:
    page = many.browser().get("/?text=nobody").text
    assert "No case matches" in page and '<a href="/">Show all</a>' in page


def test_the_filter_stays_as_it_was_chosen_through_the_pages(many: Running) -> None:
    page = many.browser().get("/?sort=oldest&text=pseudonym").text
    assert '<option value="oldest" selected>' in page and 'value="pseudonym"' in page
    following = re.search(r'<a href="([^"]+)" rel="next">', page)
    assert following is not None and "sort=oldest" in following[1] and "text=pseudonym" in following[1]


@pytest.mark.parametrize("script", ['"><script>alert(1)</script>', "'};alert(1);//", "javascript:alert(1)"])
def test_what_is_typed_is_shown_as_text(service: Running, script: str) -> None:
    browser = service.browser()
    csrf = csrf_of(browser.get("/cases/new").text)
    form = {"csrf": csrf, "patient": script, "slides": script, "priority": script}
    for page in (browser.get("/", params={"text": script}), browser.post("/cases", data=form)):
        assert "<script>alert" not in page.text
        assert 'href="javascript:' not in page.text


def test_a_case_is_submitted_by_the_form_and_its_page_says_that_it_waits(service: Running) -> None:
    browser = service.browser()
    page = browser.get("/cases/new").text
    assert str(service.service.settings.roots[0]) in page
    slides = "\n".join(["", *service.slides([21, 22]), " "])
    sent = browser.post("/cases", data={"csrf": csrf_of(page), "patient": "Grace", "slides": slides, "priority": "5"})
    assert sent.status_code == 303
    page = browser.get(sent.headers["location"]).text
    assert 'class="state queued"' in page and "Grace" not in page
    case = cases.get(service.db, sent.headers["location"][-32:])
    assert (case.priority, case.grouping, len(cases.slides_of(service.db, case.id))) == (5, "api", 2)
    canceled = browser.post(f"/cases/{case.id}/cancel", data={"csrf": csrf_of(page)})
    assert canceled.headers["location"] == f"/cases/{case.id}"
    assert "canceled by console" in browser.get(f"/cases/{case.id}").text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("slides", "", "0 slides"),
        ("slides", "/etc/passwd", "not below a folder"),
        ("slides", "upload:" + "0" * 32, "there is no upload"),
        ("patient", "a\u200b" + "b", "not printable"),
        ("patient", "a" * 501, "should have at most"),
        ("priority", "1e9", "priority"),
        ("priority", "101", "priority"),
    ],
)
def test_a_form_that_cannot_be_meant_comes_back_with_the_reason(
    service: Running, field: str, value: str, said: str
) -> None:
    browser = service.browser()
    (path,) = service.slides([23])
    form = {"csrf": csrf_of(browser.get("/cases/new").text), "patient": "P", "slides": path, "priority": "1"}
    answer = browser.post("/cases", data={**form, field: value})
    assert answer.status_code in (404, 422)
    assert said in answer.text
    if field in ("slides", "priority") and answer.status_code == 422:
        assert f'value="{form["patient"]}"' in answer.text, "what was typed is not lost"


def test_the_page_of_a_scored_case_is_that_of_predict_and_says_who_viewed_it(scored: Running) -> None:
    case = scored.client("read").get("/api/v1/cases").json()["cases"][0]
    person = scored.browser("read")
    prefetched = person.get(f"/cases/{case['id']}", headers={"Sec-Purpose": "prefetch"})
    assert prefetched.status_code == 200
    assert cases.get(scored.db, case["id"]).viewed_by is None, "a browser that loads ahead is nobody's look"
    page = person.get(f"/cases/{case['id']}").text
    written = scored.client("read").get(f"/api/v1/cases/{case['id']}/files/{case['patient']}.html").text
    section = re.compile(r'<section class="call".*?</section>', re.S)
    assert section.findall(page) == section.findall(written) != []
    assert "by a person, " in page
    assert f'href="/cases/{case["id"]}/view/slides/' not in page or "Look at the slide" in page
    assert "Score again" not in page, "who may only read"


def test_a_slide_that_is_a_folder_of_dicom_files_is_shown(scored: Running) -> None:
    folder = scored.service.settings.roots[0] / "TCGA-02-0026"
    draw_dicom(folder, seed=1)
    case = scored.client("submit").post("/api/v1/cases", json={"slides": [{"path": str(folder)}]}).json()
    scored.score()
    (slide,) = cases.slides_of(scored.db, case["id"])
    shown = scored.browser().get(f"/cases/{case['id']}/view/slides/{slide.slide_id}")
    assert shown.status_code == 200 and slide.slide_id in shown.text


def test_the_page_of_a_case_that_failed_says_why(scored: Running) -> None:
    (path,) = scored.slides([9999])
    case = scored.client("submit").post("/api/v1/cases", json={"slides": [{"path": path}]}).json()
    scored.score()
    failed = cases.get(scored.db, case["id"])
    assert failed.state == "failed" and failed.result is not None
    page = scored.browser().get(f"/cases/{case['id']}").text
    assert escape(failed.reason) in page and failed.reason


def test_a_version_that_was_superseded_leads_to_the_later_one(service: Running) -> None:
    first, later = service.slides([24, 25])
    client = service.client("submit")
    ids = []
    for path in (first, later):
        body = {"slides": [{"path": path}], "patient": "versions"}
        ids.append(client.post("/api/v1/cases", json=body).json()["id"])
    pages = [service.browser().get(f"/cases/{one}").text for one in ids]
    assert f'replaces this one:</strong> <a href="/cases/{ids[1]}">' in pages[0]
    assert f'after <a href="/cases/{ids[0]}">version 1</a>' in pages[1]
    assert "Score again" not in pages[0]


def test_a_page_has_no_script_or_handler_in_it(scored: Running) -> None:
    browser = scored.browser()
    case = scored.client("read").get("/api/v1/cases").json()["cases"][0]
    for path in ("/", "/login", "/cases/new", f"/cases/{case['id']}", "/cases/nope"):
        page = browser.get(path).text
        assert re.findall(r"<script(?![^>]* src=)", page) == []
        assert re.findall(r"\son\w+=", re.sub(r">[^<]*<", "><", page)) == []
        assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []


def test_only_files_of_the_service_are_given(service: Running) -> None:
    client = service.client()
    for file in STATIC.iterdir():
        assert client.get(f"/static/{file.name}").content == file.read_bytes()
    for path in ("/static/../routes.py", "/static/..%2froutes.py", "/static/", "/static/service.css/x"):
        answer = client.get(client.base_url.copy_with(raw_path=path.encode()))
        assert answer.status_code in (303, 404)
        assert b"def " not in answer.content
    assert Path(STATIC / "service.js").stat().st_size < 6000, "little script"
