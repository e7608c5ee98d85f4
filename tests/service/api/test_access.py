"""Who may ask what: each route has its scope, forms carry what only our pages know, and foreign names are refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import serving
from service_app import CONSOLE, PORT, Running, csrf_of, running

from kras_plugins.errors import ConfigError
from kras_plugins.service.api.access import OPEN
from kras_plugins.service.api.reach import Reach
from kras_plugins.service.tokens import issue, revoke

CASE = "0" * 32
SCOPES = {
    "GET /api/v1/cases": "read",
    "POST /api/v1/cases": "submit",
    "GET /api/v1/cases/{case_id}": "read",
    "POST /api/v1/cases/{case_id}/cancel": "submit",
    "POST /api/v1/cases/{case_id}/retry": "submit",
    "PUT /api/v1/cases/{case_id}/priority": "submit",
    "GET /api/v1/cases/{case_id}/result": "read",
    "GET /api/v1/cases/{case_id}/files": "read",
    "GET /api/v1/cases/{case_id}/files/{name:path}": "read",
    "GET /api/v1/cases/{case_id}/documents": "read",
    "GET /api/v1/cases/{case_id}/documents/{name}": "read",
    "POST /api/v1/uploads": "submit",
    "HEAD /api/v1/uploads/{upload_id}": "submit",
    "PATCH /api/v1/uploads/{upload_id}": "submit",
    "DELETE /api/v1/uploads/{upload_id}": "submit",
    "GET /api/v1/tokens": "admin",
    "POST /api/v1/tokens": "admin",
    "POST /api/v1/tokens/{token_id}/revoke": "admin",
    "GET /api/v1/openapi.json": "read",
    "GET /metrics": "read",
    "GET /": "read",
    "GET /cases/new": "submit",
    "POST /cases": "submit",
    "GET /cases/{case_id}": "read",
    "POST /cases/{case_id}/cancel": "submit",
    "POST /cases/{case_id}/retry": "submit",
    "GET /cases/{case_id}/view": "read",
}
FOR_ALL = {"GET /login", "POST /login", "GET /static/{file}", "POST /logout", "GET /healthz", "GET /readyz"}
BY_FORM = ["/cases", f"/cases/{CASE}/cancel", f"/cases/{CASE}/retry", "/logout"]


def routes(app: Any) -> Iterator[str]:
    """METHOD and path of each route of an application; of one that is mounted, GET of its address."""
    while not hasattr(app, "routes"):  # a middleware
        app = getattr(app, "app", None) or app._app
    for route in app.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes(inner)
        else:
            yield from (f"{method} {route.path}" for method in getattr(route, "methods", None) or ("GET",))


def asked(service: Running, route: str, *scopes: str) -> Any:
    """The answer to a request that a program with these scopes makes, with a body that may be anything."""
    method, path = route.split(" ")
    path = path.replace("{name:path}", "a.csv").replace("{name}", "case.pdf").replace("{file}", "service.css")
    for name in ("{case_id}", "{upload_id}", "{token_id}"):
        path = path.replace(name, CASE)
    path += "/" * path.endswith("/view")
    return service.client(*scopes).request(method, path)


def test_every_route_is_in_this_table(service: Running) -> None:
    """A new route must say who may use it."""
    assert set(routes(service.app)) == set(SCOPES) | FOR_ALL


@pytest.mark.parametrize("route", SCOPES)
def test_a_route_is_open_to_its_scope_alone(service: Running, route: str) -> None:
    others = {"read", "submit", "admin"} - {SCOPES[route]}
    stranger = asked(service, route)
    if route.startswith("GET /") and "/api/" not in route:
        assert (stranger.status_code, stranger.headers["location"].split("?")[0]) == (303, "/login")
    else:
        assert stranger.status_code == 401
        assert stranger.headers["www-authenticate"] == "Bearer"
    assert asked(service, route, *others).status_code == 403
    assert asked(service, route, SCOPES[route]).status_code not in (401, 403)


def test_a_token_that_was_revoked_opens_nothing_from_the_next_request_on(service: Running) -> None:
    token, secret = issue(service.db, "scanner", ["read"], "test")
    client = service.client(Authorization=f"Bearer {secret}")
    assert client.get("/api/v1/cases").status_code == 200
    revoke(service.db, token.id, "test")
    assert client.get("/api/v1/cases").status_code == 401


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Basic a2FzOmthcw==", "", f"Token {CONSOLE}", "Bearer é"])
def test_what_is_no_token_is_refused_also_beside_a_good_cookie(service: Running, given: str) -> None:
    browser = service.browser()
    assert browser.get("/api/v1/cases").status_code == 200
    assert browser.get("/api/v1/cases", headers={"Authorization": given.encode()}).status_code == 401


def test_the_cookie_is_not_for_scripts_other_sites_or_networks_without_tls(
    tables: Path, bundle: Path, tmp_path: Path
) -> None:
    reach = Reach(port=PORT, names=frozenset({"slides.example.org"}))
    with running(serving(tmp_path, tables, [bundle]), reach) as service:
        near = service.client().get("/login", params={"token": CONSOLE}).headers["set-cookie"].lower()
        far = (
            service.client()
            .get("/login", params={"token": CONSOLE}, headers={"Host": "slides.example.org"})
            .headers["set-cookie"]
            .lower()
        )
    assert near.split("; ")[1:] == ["httponly", "path=/", "samesite=strict"]
    assert far.split("; ")[1:] == ["httponly", "path=/", "samesite=strict", "secure"]


@pytest.mark.parametrize("token", ["", "wrong", "größer", "\x00", "a" * 201])
def test_a_wrong_token_logs_nobody_in(service: Running, token: str) -> None:
    client = service.client()
    for answer in (client.get("/login", params={"token": token}), client.post("/login", data={"token": token})):
        assert "set-cookie" not in answer.headers
        assert answer.status_code in (200, 403, 422)
    assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    "where", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", ""]
)
def test_the_login_leads_to_no_other_site(service: Running, where: str) -> None:
    page = service.client().post("/login", data={"token": CONSOLE, "next": where}).text
    assert 'content="0; url=/"' in page
    assert "evil" not in page and "javascript:" not in page


def test_a_person_logs_in_by_a_token_and_out_again(service: Running) -> None:
    browser = service.client()
    secret = issue(service.db, "Dr. Who", ["read"], "test")[1]
    assert browser.post("/login", data={"token": f" {secret}\n", "next": "/cases/new"}).status_code == 200
    page = browser.get("/").text
    assert "Dr. Who" in page and "New case" not in page
    assert browser.post("/logout", data={"csrf": csrf_of(page)}).status_code == 303
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize("path", BY_FORM)
@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "é"])
def test_a_form_without_what_our_page_put_into_it_changes_nothing(
    service: Running, path: str, csrf: str | None
) -> None:
    browser = service.browser()
    answer = browser.post(path, data={} if csrf is None else {"csrf": csrf})
    assert answer.status_code == 403
    assert "reload the page" in answer.text
    other = service.browser("read", "submit", "admin").get("/").text
    assert browser.post(path, data={"csrf": csrf_of(other)}).status_code == 403, "the value is of another session"
    own = csrf_of(browser.get("/").text)
    assert browser.post(path, data={"csrf": own}).status_code != 403


def test_a_script_of_a_page_needs_it_as_well_and_a_program_does_not(service: Running) -> None:
    browser = service.browser()
    new = {"name": "scanner", "scopes": ["submit"]}
    assert browser.post("/api/v1/tokens", json=new).status_code == 403
    csrf = csrf_of(browser.get("/").text)
    assert browser.post("/api/v1/tokens", json=new, headers={"X-CSRF-Token": csrf}).status_code == 201
    assert service.client("admin").post("/api/v1/tokens", json=new).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{PORT + 1}"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
def test_what_another_site_sends_is_refused_with_a_good_cookie_and_at_the_login(
    service: Running, headers: dict[str, str]
) -> None:
    browser = service.browser()
    csrf = csrf_of(browser.get("/").text)
    assert browser.post(f"/cases/{CASE}/cancel", data={"csrf": csrf}, headers=headers).status_code == 403
    assert service.client().post("/login", data={"token": CONSOLE}, headers=headers).status_code == 403
    own = {"Origin": f"http://127.0.0.1:{PORT}", "Sec-Fetch-Site": "same-origin"}
    assert browser.post(f"/cases/{CASE}/cancel", data={"csrf": csrf}, headers=own).status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", f"127.0.0.1.evil:{PORT}", "", "127.0.0.1"]
)
@pytest.mark.parametrize("path", ["/", "/login", "/api/v1/cases", "/static/service.css"])
def test_a_foreign_name_that_leads_here_is_refused(service: Running, host: str, path: str) -> None:
    assert service.browser().get(path, headers={"Host": host}).status_code == 421


def test_names_that_were_given_are_known(tables: Path, bundle: Path, tmp_path: Path) -> None:
    reach = Reach(port=PORT, names=frozenset({"Slides.example.org"}))
    with running(serving(tmp_path, tables, [bundle]), reach) as service:
        for host in ("slides.example.org", "SLIDES.example.org:443", f"slides.example.org:{PORT}", f"localhost:{PORT}"):
            assert service.client("read").get("/api/v1/cases", headers={"Host": host}).status_code == 200
        assert service.client("read").get("/api/v1/cases", headers={"Host": "b.example.org"}).status_code == 421


def proxied(tables: Path, bundle: Path, folder: Path, **given: Any) -> Any:
    return running(serving(folder, tables, [bundle]), Reach(port=PORT, proxy_header="X-Remote-User", **given))


def test_a_proxy_that_is_trusted_says_who_asks(tables: Path, bundle: Path, tmp_path: Path) -> None:
    with proxied(tables, bundle, tmp_path, proxies=frozenset({"10.0.0.7"})) as service:
        client = service.client(**{"X-Remote-User": "ada"})
        client._transport.client = ("10.0.0.7", 4711)
        page = client.get("/")
        assert page.status_code == 200 and "ada" in page.text and "Log out" not in page.text
        assert client.get("/api/v1/tokens").status_code == 403, "who comes through a proxy is no administrator"
        assert client.post(f"/cases/{CASE}/cancel", data={}).status_code == 403
        assert (
            client.post(f"/cases/{CASE}/cancel", data={"csrf": csrf_of(client.get("/cases/new").text)}).status_code
            == 404
        )
        client._transport.client = ("10.0.0.8", 4711)
        assert client.get("/").status_code == 303, "the same header from another address says nothing"


@pytest.mark.parametrize("name", ["", " ", "a\tb", "a" * 101])
def test_a_name_that_is_none_is_nobody(tables: Path, bundle: Path, tmp_path: Path, name: str) -> None:
    with proxied(tables, bundle, tmp_path, proxies=frozenset({"10.0.0.7"})) as service:
        client = service.client(**{"X-Remote-User": name})
        client._transport.client = ("10.0.0.7", 4711)
        assert client.get("/").status_code == 303


def test_the_header_says_nothing_where_no_proxy_is_trusted(service: Running) -> None:
    client = service.client(**{"X-Remote-User": "ada", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-User": "ada"})
    client._transport.client = ("127.0.0.1", 4711)
    assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "0.0.0.0"}, "no name is set under which"),
        ({"names": frozenset({"https://a.b"})}, "is not a host name"),
        ({"proxies": frozenset({"proxy.example.org"})}, "is not an IP address"),
        ({"proxy_header": "X Remote: User"}, "is not a header name"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(Reach(), **given)


@pytest.mark.parametrize("path", ["/", "/login", f"/cases/{CASE}", "/api/v1/cases", "/static/service.js", "/nope"])
def test_every_answer_forbids_scripts_frames_and_readers_from_elsewhere(service: Running, path: str) -> None:
    for client in (service.client(), service.browser(), service.client("read")):
        for answer in (client.get(path), client.get(path, headers={"Host": "evil"})):
            policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert policy["script-src"] == policy["form-action"] == "'self'"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_no_secret_of_a_token_is_in_a_log_the_audit_or_the_database(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = service.client("admin").post("/api/v1/tokens", json={"name": "scanner", "scopes": ["read"]}).json()
        client = service.client(Authorization=f"Bearer {made['secret']}")
        client.get("/api/v1/cases")
        client.get("/login", params={"token": made["secret"]})
        client.post("/login", data={"token": made["secret"][:-1]})
        listed = service.client("admin").get("/api/v1/tokens").text
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith(("kras", "uvicorn", "sqlalchemy"))
    ]
    assert not [line for line in ours if made["secret"][:20] in line]
    assert made["secret"] not in listed
    files = [file for file in service.service.settings.data.iterdir() if file.is_file()]
    assert len(files) >= 2
    assert not [file.name for file in files if made["secret"].encode() in file.read_bytes()]


def test_what_is_open_to_strangers_is_short() -> None:
    assert OPEN == ("/login", "/static/", "/healthz", "/readyz")
