"""Too much is refused: requests of one caller, or bytes of one request, with or without a declared length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import serving
from service_app import PORT, running

from kras_plugins.service.api.limits import Buckets
from kras_plugins.service.api.reach import Reach


def test_a_bucket_gives_as_many_as_it_has_and_is_refilled_evenly() -> None:
    now = [0.0]
    buckets = Buckets(60, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(60)] == [0.0] * 60
    assert buckets.take("a") == pytest.approx(1.0)
    assert buckets.take("b") == 0.0, "others have their own"
    now[0] = 0.5
    assert buckets.take("a") == pytest.approx(0.5)
    now[0] = 2.0
    assert [buckets.take("a") == 0.0 for _ in range(3)] == [True, True, False]
    now[0] = 1e6
    assert sum(buckets.take("a") == 0.0 for _ in range(100)) == 60, "never more than a full one"


def test_what_is_remembered_of_those_who_asked_does_not_grow_without_end() -> None:
    buckets = Buckets(60, clock=lambda: 0.0)
    for i in range(20_000):
        buckets.take(str(i))
    assert len(buckets._known) == 10_000


def test_who_asks_too_often_waits_and_others_do_not(tables: Path, bundle: Path, tmp_path: Path) -> None:
    with running(serving(tmp_path, tables, [bundle]), Reach(port=PORT, per_minute=5)) as service:
        client = service.client("read")
        answers = [client.get("/api/v1/cases") for _ in range(8)]
        codes = [answer.status_code for answer in answers]
        assert codes[:5] == [200] * 5 and 429 in codes
        last = answers[codes.index(429)]
        assert last.headers["content-type"] == "application/problem+json"
        assert 1 <= int(last.headers["retry-after"]) <= 13
        assert service.client("read").get("/api/v1/cases").status_code == 200
        stranger = service.client()
        assert [stranger.post("/login", data={"token": str(i)}).status_code for i in range(6)].count(429) >= 1
        browser = service.client("read")
        assert {browser.get("/static/service.css").status_code for _ in range(20)} == {200}, "not what pages load"


@pytest.fixture(scope="module")
def reach() -> Reach:
    return Reach(port=PORT, per_minute=1_000_000, most_body=1000, most_piece=2000, most_upload=10_000)


def test_a_body_that_is_too_large_is_refused(tables: Path, bundle: Path, tmp_path: Path, reach: Reach) -> None:
    def unsaid() -> Iterator[bytes]:
        yield from (b" " * 400 for _ in range(10))

    with running(serving(tmp_path, tables, [bundle]), reach) as service:
        client, browser = service.client("submit"), service.browser()
        said = client.post("/api/v1/cases", content=b" " * 1001)
        assert said.status_code == 413
        assert said.json()["remedy"]
        json = {"Content-Type": "application/json"}
        assert client.post("/api/v1/cases", content=unsaid(), headers=json).status_code == 413
        assert browser.post("/cases", data={"slides": "a" * 1001}).status_code == 413
        assert client.post("/api/v1/cases", content=b" " * 1000, headers=json).status_code == 422
        for length in ("-1", "1e3", "9" * 30, "x"):
            assert client.post("/api/v1/cases", headers={"Content-Length": length}).status_code == 413
        begun = {"Upload-Length": "10000", "Upload-Metadata": "filename YS5zdnM="}
        where = client.post("/api/v1/uploads", headers=begun).headers["location"]
        piece = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        assert client.patch(where, content=b" " * 2001, headers=piece).status_code == 413
        assert client.patch(where, content=b" " * 2000, headers=piece).status_code == 204
        assert client.post("/api/v1/uploads", headers={**begun, "Upload-Length": "10001"}).status_code == 413
