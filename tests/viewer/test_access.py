"""Who may view, and what answers say: hostile requests get one line, and nothing about this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shown_slides import PORT, TOKEN, browser, shown_bare
from starlette.testclient import TestClient

from kras_plugins.viewer.app import create_app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secret-place")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """A browser that opened the first address."""
    with create_app(shown_bare(folder), TOKEN, PORT) as app:
        yield browser(app)


@pytest.fixture
def stranger(client: TestClient) -> TestClient:
    return TestClient(client.app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)


def test_the_first_address_gives_a_cookie_that_scripts_and_other_sites_do_not_get(stranger: TestClient) -> None:
    answer = stranger.get("/", params={"token": TOKEN})
    assert answer.status_code == 200
    assert answer.headers["set-cookie"].lower().split("; ")[1:] == ["httponly", "path=/", "samesite=strict"]
    assert stranger.get("/").headers["location"] == "/slides/bare"


@pytest.mark.parametrize("path", ["/", "/slides/bare", "/slides/bare/facts", "/slides/bare/pixels/9/0_0.jpg", "/nope"])
def test_without_the_token_nothing_is_shown_not_even_what_there_is(stranger: TestClient, path: str) -> None:
    for answer in (
        stranger.get(path),
        stranger.get(path, headers={"Cookie": f"kras_view_{PORT}=wrong"}),
        stranger.get(path, headers={"Cookie": f"kras_view_{PORT + 1}={TOKEN}"}),
    ):
        assert (answer.status_code, answer.text) == (403, "open the address that `kras view` printed")
    assert stranger.get("/", params={"token": "wrong"}).status_code == 403
    assert stranger.get("/", params={"token": "größer"}).status_code == 403


def test_the_cookie_is_found_among_those_of_other_programs(stranger: TestClient) -> None:
    cookies = f'other={{"a": [1, "é"]}}; ; =x; kras_view_{PORT}={TOKEN}; last="'
    assert stranger.get("/slides/bare", headers={"Cookie": cookies.encode()}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", f"127.0.0.1.evil:{PORT}", "", "[::1]"]
)
def test_a_foreign_name_that_leads_here_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/slides/bare", headers={"Host": host}).status_code == 421


def test_both_names_of_loopback_are_right(client: TestClient) -> None:
    assert client.get("/slides/bare", headers={"Host": f"LocalHost:{PORT}"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_there_is_nothing_but_looking(client: TestClient, method: str) -> None:
    answer = client.request(method, "/slides/bare")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/", "/slides/bare", "/slides/bare/facts", "/slides/bare/pixels/3/0_0.jpg", "/nope"])
def test_every_answer_forbids_scripts_frames_and_readers_from_elsewhere(
    client: TestClient, stranger: TestClient, path: str
) -> None:
    for answer in (client.get(path), stranger.get(path), client.get(path, headers={"Host": "evil"})):
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert "http" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "server" not in answer.headers


TILE = "/slides/bare/pixels"
HOSTILE = [
    "/slides/..%2f..%2fetc%2fpasswd", "/slides/../../etc/passwd", "/slides/bare%00", "/slides/" + "a" * 5000,
    "/slides/<script>alert(1)</script>", "/static/..%2fapp.py", "/static/../app.py", "/static/%2e%2e/app.py",
    "/cases/..%2f..%2fsecret", "/report", "/docs", "/openapi.json", "/slides/bare/label", "/slides/bare/macro.jpg",
    "/slides/bare/layers/nope/3/0_0.png", "/slides/bare/layers/nope.geojson",
    f"{TILE}/-1/0_0.jpg", f"{TILE}/99/0_0.jpg", f"{TILE}/3/1_0.jpg", f"{TILE}/3/0_-1.jpg", f"{TILE}/3/a_b.jpg",
    f"{TILE}/{'9' * 5000}/0_0.jpg", f"{TILE}/3/0_0.jpg.png", f"{TILE}/3/0x0_0.jpg", f"{TILE}/3/1e0_0.jpg",
    "/slides/bare/at", "/slides/bare/at?x=nan&y=0", "/slides/bare/at?x=inf&y=0", "/slides/bare/at?x=1e300&y=0",
    "/slides/bare/at?x=1;y=0", "/slides/bare/similar?x=0&y=0&n=0", "/slides/bare/similar?x=0&y=0&n=100000",
    *(
        f"/slides/bare/{file}?x=0&y=0&{rest}"
        for file in ("crop.jpg", "view.png")
        for rest in ("w=0&h=1", "w=-1&h=1", "w=nan&h=1", "w=10&h=10&px=100000", "w=10&h=10&px=-1", "w=9e6&h=9e6&px=64")
    ),
    "/slides/bare/crop.jpg?x=9000&y=0&w=10&h=10", "/slides/bare/crop.jpg?x=-11&y=0&w=10&h=10",
    "/slides/bare/view.png?x=0&y=0&w=9&h=9&layers=nope:1", "/slides/bare/view.png?x=0&y=0&w=9&h=9&layers=:nan",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=lambda p: p[:60])
def test_what_makes_no_sense_gets_one_plain_line(client: TestClient, folder: Path, path: str) -> None:
    # A browser takes ".." out of a path, an attacker does not.
    answer = client.get(client.base_url.copy_with(raw_path=path.encode()))
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.text.splitlines()) == 1
    assert len(answer.text) < 200
    assert "script>" not in answer.text
    assert folder.name not in answer.text


def test_a_slide_that_cannot_be_read_is_an_answer_without_its_path_and_a_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = shown_bare(tmp_path)
    (tmp_path / "bare.tif").write_bytes(b"II*\0 and nothing more")
    with create_app(shown, TOKEN, PORT) as app:
        answer = browser(app).get("/slides/bare/facts")
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text
    assert "bare.tif" not in answer.text
    assert str(tmp_path) in caplog.text


def test_no_answer_names_a_place_of_this_machine(client: TestClient, folder: Path) -> None:
    for path in ("/slides/bare", "/slides/bare/facts", "/slides/bare/at?x=1&y=1", "/slides/bare/similar?x=1&y=1"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert folder.name not in answer.text
        assert "/tmp" not in answer.text
