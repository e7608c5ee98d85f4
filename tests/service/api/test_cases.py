"""Cases over HTTP: what is submitted is scored once, what may not be named is refused, results are those of predict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from served import arrive
from service_app import Running

from kras_plugins.service import cases
from kras_plugins.service.database.engine import writing
from kras_plugins.service.database.tables import cases as table


def submit(service: Running, *paths: str, patient: str | None = "someone", **more: Any) -> Any:
    body = {"slides": [{"path": path} for path in paths], "patient": patient, **more}
    return service.client("submit").post("/api/v1/cases", json=body)


def test_the_same_slides_are_the_same_case_and_later_ones_a_new_version(service: Running) -> None:
    first, later = service.slides([10, 11])
    made = submit(service, first, patient="twice")
    assert made.status_code == 201
    case = made.json()
    assert made.headers["location"] == f"/api/v1/cases/{case['id']}"
    assert submit(service, first, patient="twice").json()["id"] == case["id"]
    second = submit(service, later, patient="twice").json()
    assert (second["version"], second["supersedes"]) == (2, case["id"])
    reader = service.client("read")
    assert reader.get(made.headers["location"]).json()["superseded_by"] == second["id"]
    shown = [one["id"] for one in reader.get("/api/v1/cases", params={"text": case["patient"]}).json()["cases"]]
    assert shown == [second["id"]]


def test_no_answer_has_the_patients_name_or_a_path(service: Running) -> None:
    (path,) = service.slides([12])
    case = submit(service, path, patient="Jane Doe").json()
    reader = service.client("read", "submit", "admin")
    texts = [json.dumps(case), reader.get("/api/v1/cases").text, service.browser().get(f"/cases/{case['id']}").text]
    texts.append(service.browser().get("/").text)
    for text in texts:
        assert "Jane" not in text
        assert Path(path).stem not in text
        assert str(service.service.settings.roots[0]) not in text


def test_one_slide_without_a_patient_stands_alone_and_several_are_refused(service: Running) -> None:
    one, two = service.slides([13, 14])
    assert submit(service, one, patient=None).json()["grouping"] == "alone"
    assert submit(service, one, two, patient=None).status_code == 422


def test_what_lies_outside_of_the_roots_is_refused_alike_whether_it_is_there_or_not(
    service: Running, tmp_path: Path
) -> None:
    root = service.service.settings.roots[0]
    outside = arrive(tmp_path / "outside", 1)
    (root / "link.svs").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    (root / "loop.svs").symlink_to(root / "loop.svs")
    deep = root / "dicom"
    deep.mkdir()
    (deep / "1.dcm").symlink_to(outside)
    named = [
        str(outside), "/etc/passwd", str(root / ".." / "outside" / outside.name), str(root / "link.svs"),
        str(root / "folder" / outside.name), str(root / "loop.svs"), str(root / "nothing.svs"), str(deep),
        "relative.svs",
        f"{root}/../../../../etc/passwd", "file:///etc/passwd",
    ]  # fmt: skip
    answers = [submit(service, one, patient="outside") for one in named]
    assert {answer.status_code for answer in answers} == {422}
    assert len({answer.text for answer in answers[:-1]}) == 1
    assert not [answer.text for answer in answers if "passwd" in answer.text or str(outside) in answer.text]


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/a.svs", "http://169.254.169.254/latest/meta-data", "http://127.0.0.1:1/a.svs",
     "ftp://a/b.svs", "s3://bucket/a.svs"],
)  # fmt: skip
def test_an_address_of_a_host_that_is_not_allowed_is_refused(service: Running, url: str) -> None:
    answer = service.client("submit").post("/api/v1/cases", json={"slides": [{"url": url}], "patient": "p"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b"\xff\xfe", b'"' + b"\\ud800" + b'"', b"[" * 100_000,
        b'{"slides": []}', b'{"slides": [{}]}', b'{"slides": [{"path": "/a", "url": "s3://a/b"}]}',
        b'{"slides": [{"path": "/a\\u0000b"}]}', b'{"slides": [{"path": "\\ud800"}]}', b'{"slides": [{"path": 7}]}',
        b'{"slides": [{"path": "/a", "sha256": "' + b"0" * 64 + b'"}]}', b'{"slides": [{"upload": "../../etc"}]}',
        b'{"slides": [{"path": "/a"}], "priority": 1' + b"0" * 500 + b"}",
        b'{"slides": [{"path": "/a"}], "priority": 1e400}',
        b'{"slides": [{"path": "/a"}], "priority": NaN}', b'{"slides": [{"path": "/a"}], "patient": "a\\nb"}',
        b'{"slides": [{"path": "/a"}], "patient": ""}',
        b'{"slides": [{"path": "/a"}], "patient": "' + b"a" * 501 + b'"}',
        b'{"slides": [{"path": "/a"}], "surprise": 1}', b'{"slides": [{"path": "' + b"a" * 600 + b'"}]}',
    ],
    ids=range(23),
)  # fmt: skip
def test_what_makes_no_sense_is_the_askers_fault(service: Running, body: bytes) -> None:
    answer = service.client("submit").post("/api/v1/cases", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "remedy"}
    assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize(
    "query",
    [
        "state=nope", "call=nope", "qc=nope", "sort=nope", "limit=0", "limit=501", f"limit={'9' * 400}", "limit=x",
        "after=x", "after=bnVsbA", f"after={'A' * 900}", "text=%00", "text=%ED%A0%80", f"text={'a' * 501}",
        "silent=maybe",
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(service: Running, query: str) -> None:
    answer = service.client("read", "admin").get(f"/api/v1/cases?{query}")
    assert answer.status_code in (200, 422)
    assert answer.status_code == 422 or query in ("text=%ED%A0%80",)
    page = service.browser().get(f"/?{query}")
    assert page.status_code in (200, 422)


@pytest.mark.parametrize("case_id", ["nope", "0" * 32, "..%2f..%2fetc", "%00", "a" * 5000, "é"])
@pytest.mark.parametrize("after", ["", "/result", "/files", "/files/predictions.csv", "/view/", "/view/slides/a"])
def test_a_case_that_is_not_there_is_not_there(service: Running, case_id: str, after: str) -> None:
    reader = service.client("read")
    for base in ("/api/v1/cases/", "/cases/"):
        assert reader.get(f"{base}{case_id}{after}").status_code in (404, 422)


def test_a_case_is_canceled_and_tried_again_and_wrong_states_are_a_conflict(service: Running) -> None:
    client = service.client("read", "submit")
    (path,) = service.slides([15])
    where = f"/api/v1/cases/{submit(service, path, patient='life').json()['id']}"
    assert client.put(f"{where}/priority", json={"priority": 7}).json()["priority"] == 7
    assert client.put(f"{where}/priority", json={"priority": True}).status_code == 422
    assert client.post(f"{where}/retry").status_code == 409
    assert client.post(f"{where}/cancel").json()["state"] == "canceled"
    assert client.post(f"{where}/cancel").status_code == 409
    assert client.post(f"{where}/retry").json()["state"] == "queued"
    assert client.get(f"{where}/result").status_code == 409
    assert client.get(f"{where}/files").status_code == 409


def test_a_result_is_what_predict_writes_and_who_takes_it_has_viewed_it(scored: Running) -> None:
    client = scored.client("read", name="the archive")
    case = client.get("/api/v1/cases", params={"sort": "oldest"}).json()["cases"][0]
    assert case["viewed_by"] is None
    where = f"/api/v1/cases/{case['id']}"
    files = {one["name"]: one["bytes"] for one in client.get(f"{where}/files").json()}
    assert {"predictions.csv", "manifest.json", f"{case['patient']}.case.json", f"{case['patient']}.html"} <= set(files)
    assert client.get(where).json()["viewed_by"] is None, "a list of files is no look at a result"
    folder = scored.service.settings.results / str(cases.get(scored.db, case["id"]).result)
    for name, size in files.items():
        answer = client.get(f"{where}/files/{name}")
        assert answer.content == (folder / name).read_bytes()
        assert len(answer.content) == size
        assert answer.headers["content-disposition"].startswith("attachment")
    assert client.get(f"{where}/result").json()["prediction"]["patient_id"] == case["patient"]
    assert client.get(where).json()["viewed_by"] == "the archive"


@pytest.mark.parametrize(
    "name",
    ["../../kras.sqlite", "..%2f..%2fform.key", "%2e%2e/form.key", "/etc/passwd", "link.csv", ".adding",
     "a" * 3000, "%00"],
)  # fmt: skip
def test_no_file_outside_of_the_result_is_given(scored: Running, name: str) -> None:
    client = scored.client("read")
    case = client.get("/api/v1/cases").json()["cases"][0]
    folder = scored.service.settings.results / str(cases.get(scored.db, case["id"]).result)
    if not (folder / "link.csv").is_symlink():
        (folder / "link.csv").symlink_to(scored.service.settings.data / "form.key")
    path = f"/api/v1/cases/{case['id']}/files/{name}"
    answer = client.get(client.base_url.copy_with(raw_path=path.encode()))
    assert answer.status_code in (404, 422, 307)
    assert (scored.service.settings.data / "form.key").read_bytes() not in answer.content


def test_a_result_that_is_gone_is_said_without_its_place(scored: Running) -> None:
    client = scored.client("read")
    case = client.get("/api/v1/cases", params={"sort": "oldest"}).json()["cases"][1]
    folder = scored.service.settings.results / str(cases.get(scored.db, case["id"]).result)
    os.rename(folder, folder.with_name("away"))
    try:
        for path in (
            f"/api/v1/cases/{case['id']}/result",
            f"/cases/{case['id']}",
            f"/cases/{case['id']}/view/slides/a",
        ):
            answer = client.get(path)
            assert answer.status_code == 503
            assert str(scored.service.settings.data) not in answer.text
    finally:
        os.rename(folder.with_name("away"), folder)


def test_what_is_scored_in_silence_is_for_administrators(scored: Running) -> None:
    client, administrator = scored.client("read", "submit"), scored.client("read", "submit", "admin")
    case = client.get("/api/v1/cases").json()["cases"][0]
    with writing(scored.db) as connection:
        connection.execute(table.update().where(table.c.id == case["id"]).values(silent=True))
    try:
        for path in ("", "/result", "/files", "/files/predictions.csv"):
            assert client.get(f"/api/v1/cases/{case['id']}{path}").status_code == 403
            assert administrator.get(f"/api/v1/cases/{case['id']}{path}").status_code == 200
        assert client.post(f"/api/v1/cases/{case['id']}/retry").status_code == 403
        assert client.get(f"/cases/{case['id']}").status_code == 403
        assert client.get(f"/cases/{case['id']}/view/slides/a").status_code == 403
        assert case["id"] not in client.get("/api/v1/cases").text + client.get("/").text
        assert client.get("/api/v1/cases", params={"silent": True}).status_code == 403
        found = administrator.get("/api/v1/cases", params={"silent": True}).json()["cases"]
        assert [one["id"] for one in found] == [case["id"]]
    finally:
        with writing(scored.db) as connection:
            connection.execute(table.update().where(table.c.id == case["id"]).values(silent=False))


def test_no_score_is_given_of_who_is_not_assessable(scored: Running) -> None:
    client = scored.client("read")
    case = client.get("/api/v1/cases").json()["cases"][0]
    assert case["state"] == "not_assessable"
    with writing(scored.db) as connection:
        connection.execute(table.update().where(table.c.id == case["id"]).values(score=0.4321))
    assert client.get(f"/api/v1/cases/{case['id']}").json()["score"] is None
    assert "43.2" not in client.get("/").text + client.get(f"/cases/{case['id']}").text
    with writing(scored.db) as connection:
        connection.execute(
            table.update().where(table.c.id == case["id"]).values(score=0.4321, state="scored", call="rule_in")
        )
    assert client.get(f"/api/v1/cases/{case['id']}").json()["score"] == 0.4321
    assert "43.2" in client.get("/").text
    with writing(scored.db) as connection:
        connection.execute(
            table.update()
            .where(table.c.id == case["id"])
            .values(score=None, state="not_assessable", call="not_assessable")
        )
