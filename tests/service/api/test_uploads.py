"""Slides sent in pieces: a break costs nothing, a wrong piece is not kept, and nobody can continue another's upload."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from service_app import Running
from starlette.testclient import TestClient

from kras_plugins.service.api.uploads import _PIECE as PIECE
from kras_plugins.service.client import Client
from kras_plugins.service.intake import uploads
from kras_plugins.service.tokens import issue

SLIDE = bytes(range(256)) * 40


@pytest.fixture
def client(service: Running) -> TestClient:
    return service.client("submit")


def begin(client: TestClient, size: int = len(SLIDE), name: str = "slide.svs") -> str:
    named = base64.b64encode(name.encode()).decode()
    headers = {"Upload-Length": str(size), "Upload-Metadata": f"filename {named},other eA=="}
    answer = client.post("/api/v1/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def send(client: TestClient, where: str, offset: int, piece: bytes, **headers: str) -> Any:
    return client.patch(where, content=piece, headers={"Upload-Offset": str(offset), "Content-Type": PIECE, **headers})


def offset(client: TestClient, where: str) -> int:
    answer = client.head(where)
    assert (answer.headers["upload-length"], answer.headers["tus-resumable"]) == (str(len(SLIDE)), "1.0.0")
    return int(answer.headers["upload-offset"])


def file_of(service: Running, where: str) -> Path:
    (file,) = (one for one in (service.service.settings.uploads / where[-32:]).iterdir() if one.name[0] != ".")
    return file


def test_a_slide_comes_in_pieces_and_is_whole(service: Running, client: TestClient) -> None:
    where = begin(client)
    for start in range(0, len(SLIDE), 3000):
        answer = send(client, where, start, SLIDE[start : start + 3000])
        assert answer.status_code == 204
        assert offset(client, where) == int(answer.headers["upload-offset"]) == min(start + 3000, len(SLIDE))
    assert file_of(service, where).read_bytes() == SLIDE
    assert file_of(service, where).name == "slide.svs"
    assert file_of(service, where).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("at", [0, 2000, 4001, 9000])
def test_a_piece_that_does_not_begin_where_the_last_one_ended_is_refused(
    service: Running, client: TestClient, at: int
) -> None:
    where = begin(client)
    send(client, where, 0, SLIDE[:4000])
    answer = send(client, where, at, SLIDE[at : at + 100])
    assert answer.status_code == 409
    assert "4000" in answer.json()["remedy"]
    assert file_of(service, where).read_bytes() == SLIDE[:4000]


def test_a_piece_with_a_wrong_checksum_is_not_kept(service: Running, client: TestClient) -> None:
    where = begin(client)
    right = base64.b64encode(hashlib.sha256(SLIDE[:100]).digest()).decode()
    assert send(client, where, 0, SLIDE[:99] + b"?", **{"Upload-Checksum": f"sha256 {right}"}).status_code == 460
    assert offset(client, where) == 0
    assert send(client, where, 0, SLIDE[:100], **{"Upload-Checksum": f"sha256 {right}"}).status_code == 204
    for other in ("md5 AAAA", "sha256 !", "sha256", "sha256 AAAA"):
        assert send(client, where, 100, SLIDE[100:200], **{"Upload-Checksum": other}).status_code in (400, 422)
    assert offset(client, where) == 100


def test_more_than_was_said_is_refused(client: TestClient) -> None:
    where = begin(client)
    assert send(client, where, 0, SLIDE + b"x").status_code == 413
    assert offset(client, where) <= len(SLIDE)


def test_an_upload_is_its_owners_alone(service: Running, client: TestClient) -> None:
    where = begin(client)
    other = service.client("submit", "read", "admin", name="another")
    assert other.head(where).status_code == 404
    assert send(other, where, 0, b"x").status_code == 404
    assert other.delete(where).status_code == 404
    answer = other.post("/api/v1/cases", json={"slides": [{"upload": where[-32:]}], "patient": "p"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Upload-Metadata": "filename YS5zdnM="}, 422),
        ({"Upload-Length": "10"}, 422),
        ({"Upload-Length": "0", "Upload-Metadata": "filename YS5zdnM="}, 422),
        ({"Upload-Length": "9" * 40, "Upload-Metadata": "filename YS5zdnM="}, 422),
        ({"Upload-Length": "10", "Upload-Metadata": "filename ???"}, 422),
        ({"Upload-Length": "10", "Upload-Metadata": "filename //79"}, 422),
        ({"Upload-Length": "10", "Upload-Metadata": "name YS5zdnM="}, 422),
        ({"Upload-Length": "10", "Upload-Metadata": "filename YS5zdnM=", "Tus-Resumable": "0.2.1"}, 412),
    ],
)
def test_what_begins_no_upload_says_why(client: TestClient, headers: dict[str, str], code: int) -> None:
    answer = client.post("/api/v1/uploads", headers=headers)
    assert answer.status_code == code
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "name",
    ["../../evil.svs", "a/b.svs", "a\\b.svs", "a\0.svs", "no-ending", ".svs", "a\n.svs", "x" * 300 + ".svs"],
    ids=["up", "folder", "backslash", "zero byte", "no ending", "ending alone", "line", "long"],
)
def test_a_name_leads_nowhere_else(client: TestClient, name: str) -> None:
    named = base64.b64encode(name.encode()).decode()
    answer = client.post("/api/v1/uploads", headers={"Upload-Length": "10", "Upload-Metadata": f"filename {named}"})
    assert answer.status_code == 422


def test_what_no_reader_opens_is_refused_before_it_is_sent(client: TestClient) -> None:
    named = base64.b64encode(b"slide.exe").decode()
    answer = client.post("/api/v1/uploads", headers={"Upload-Length": "10", "Upload-Metadata": f"filename {named}"})
    assert answer.status_code == 422
    assert "no reader opens .exe" in answer.text and ".svs" in answer.text


def test_a_name_that_no_file_system_knows_keeps_its_ending(service: Running, client: TestClient) -> None:
    file = file_of(service, begin(client, name="Größe 1: <b>.ome.tiff"))
    assert file.name.endswith(".tiff")
    assert file.name.isascii() and "<" not in file.name


def test_a_piece_of_another_type_is_refused(client: TestClient) -> None:
    where = begin(client)
    assert client.patch(where, content=b"x", headers={"Upload-Offset": "0"}).status_code == 415


def test_of_two_pieces_at_once_one_is_refused(service: Running, client: TestClient) -> None:
    where = begin(client)
    owner = uploads_owner(service, where)
    upload = uploads.find(service.db, service.service.settings.uploads, where[-32:], owner)
    with uploads.piece(service.db, upload, 0) as file:
        answer = send(client, where, 0, SLIDE[:10])
        assert answer.status_code == 409
        file.write(SLIDE[:20])
    assert offset(client, where) == 20


def uploads_owner(service: Running, where: str) -> str:
    with service.db.connect() as connection:
        asked = uploads.uploads.select().where(uploads.uploads.c.id == where[-32:])
        return str(connection.execute(asked).one().owner)


def test_an_upload_is_taken_back_unless_a_case_has_it(service: Running, client: TestClient) -> None:
    gone, kept = begin(client), begin(client)
    assert client.delete(gone).status_code == 204
    assert client.head(gone).status_code == 404
    assert not (service.service.settings.uploads / gone[-32:]).exists()
    send(client, kept, 0, SLIDE)
    answer = client.post("/api/v1/cases", json={"slides": [{"upload": kept[-32:]}], "patient": "someone"})
    assert answer.status_code == 201, answer.text
    assert client.delete(kept).status_code == 422
    assert file_of(service, kept).read_bytes() == SLIDE


def test_only_a_whole_upload_with_the_digest_that_was_said_becomes_a_case(service: Running, client: TestClient) -> None:
    where = begin(client)
    case = {"slides": [{"upload": where[-32:], "sha256": hashlib.sha256(SLIDE).hexdigest()}], "patient": "digest"}
    send(client, where, 0, SLIDE[:5000])
    early = client.post("/api/v1/cases", json=case)
    assert early.status_code == 422 and "5000 of 10240" in early.json()["detail"]
    send(client, where, 5000, SLIDE[5000:])
    wrong = {**case, "slides": [{**case["slides"][0], "sha256": "0" * 64}]}
    assert client.post("/api/v1/cases", json=wrong).status_code == 422
    assert client.post("/api/v1/cases", json=case).status_code == 201


@contextlib.contextmanager
def on_a_port(service: Running) -> Iterator[int]:
    """The same service behind a real socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(service.app, log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def test_a_broken_connection_keeps_what_came_and_the_sender_goes_on(service: Running) -> None:
    """The connection is cut in the middle of a piece: the server keeps what arrived, and says how much."""
    secret = issue(service.db, "scanner", ["submit"], "test")[1]
    client = service.client(Authorization=f"Bearer {secret}")
    where = begin(client)
    with on_a_port(service) as port:
        cut = socket.create_connection(("127.0.0.1", port))
        head = (
            f"PATCH {where} HTTP/1.1\r\nHost: 127.0.0.1:{service.service.reach.port}\r\nUpload-Offset: 0\r\n"
            f"Content-Type: {PIECE}\r\nContent-Length: {len(SLIDE)}\r\nAuthorization: Bearer {secret}\r\n\r\n"
        )
        cut.sendall(head.encode() + SLIDE[:6000])
        file = file_of(service, where)
        for _ in range(3000):
            if file.stat().st_size or offset(client, where):
                break
            threading.Event().wait(0.01)
        cut.close()
        for _ in range(3000):  # until the server has noticed that nothing more comes
            here = offset(client, where)
            if here and send(client, where, here, SLIDE[here:]).status_code == 204:
                break
            threading.Event().wait(0.01)
    assert file_of(service, where).read_bytes() == SLIDE


def test_the_command_lines_client_goes_on_after_a_break(
    service: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection fails after the first piece, in the middle of the second."""
    monkeypatch.setattr("kras_plugins.service.client._PIECE", 4000)
    monkeypatch.setattr("kras_plugins.service.client.time.sleep", lambda _: None)
    file = tmp_path / "a slide.svs"
    file.write_bytes(SLIDE)
    secret = issue(service.db, "scanner", ["submit"], "test")[1]
    sent: list[int] = []
    request = http.client.HTTPConnection.request

    def failing(self: Any, method: str, path: str, body: Any = None, headers: Any = None) -> None:
        headers = {**headers, "Host": f"127.0.0.1:{service.service.reach.port}"}
        if method == "PATCH":
            sent.append(len(body))
            if len(sent) == 2:
                self.close()
                raise ConnectionResetError("cut")
        request(self, method, path, body, headers)

    monkeypatch.setattr(http.client.HTTPConnection, "request", failing)
    with on_a_port(service) as port, Client(f"http://127.0.0.1:{port}", secret) as client:
        made = client.send(file)
        case = client.submit([{"upload": made}], "someone else", 3)
    assert sent == [4000, 4000, 4000, 2240]
    assert (service.service.settings.uploads / made / "a_slide-").parent.is_dir()
    assert case["state"] == "queued" and case["priority"] == 3
