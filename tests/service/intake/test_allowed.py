"""What may be named from outside: nothing but slides below some folders and at some hosts."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kras_plugins.errors import UsageError
from kras_plugins.service.intake.allowed import NotAllowed, allowed_path, allowed_url
from kras_plugins.urls import Url


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "below").mkdir(parents=True)
    (tmp_path / "root" / "below" / "a.svs").write_text("x")
    (tmp_path / "outside.svs").write_text("x")
    return tmp_path / "root"


def test_a_slide_below_a_root_is_allowed_by_its_real_path(root: Path, tmp_path: Path) -> None:
    slide = root / "below" / "a.svs"
    assert allowed_path(slide, [root]) == slide
    (tmp_path / "link").symlink_to(root)
    assert allowed_path(tmp_path / "link" / "below" / ".." / "below" / "a.svs", [tmp_path / "link"]) == slide
    assert allowed_path(root / "below", [root]) == root / "below"


def test_what_lies_outside_is_refused_in_the_same_words_whether_it_is_there_or_not(root: Path, tmp_path: Path) -> None:
    (root / "link.svs").symlink_to(tmp_path / "outside.svs")
    (root / "loop.svs").symlink_to(root / "loop.svs")
    named = [
        tmp_path / "outside.svs", tmp_path / "missing.svs", root / "below/../../outside.svs", root / "link.svs",
        root / "loop.svs", root / "missing.svs", root / "below/a.svs/b", "a\0b", "", ".", "~", "x" * 5000,
        f"{root}-not/a.svs", b"\xff.svs".decode(errors="surrogateescape"),
    ]  # fmt: skip
    said = set()
    for one in named:
        with pytest.raises(NotAllowed) as e:
            allowed_path(one, [root])
        said.add(str(e.value))
    assert len(said) == 1


def test_a_folder_or_a_mirax_slide_may_have_no_part_elsewhere(root: Path, tmp_path: Path) -> None:
    (root / "below" / "part.dcm").symlink_to(tmp_path / "outside.svs")
    with pytest.raises(NotAllowed):
        allowed_path(root / "below", [root])
    (root / "b.mrxs").write_text("x")
    assert allowed_path(root / "b.mrxs", [root]) == root / "b.mrxs"
    (root / "b").symlink_to(tmp_path)
    with pytest.raises(NotAllowed):
        allowed_path(root / "b.mrxs", [root])


def test_a_pipe_is_no_slide(root: Path) -> None:
    os.mkfifo(root / "pipe.svs")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        allowed_path(root / "pipe.svs", [root])


class Answers(http.server.BaseHTTPRequestHandler):
    """Redirects requests for /to/ADDRESS to that address; answers all others."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        target = self.path.removeprefix("/to/") if self.path.startswith("/to/") else None
        self.send_response(200 if target is None else 302)
        if target is not None:
            self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """A web server on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        Answers.asked.clear()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_host_that_is_named_may_be_asked_even_on_this_machine(port: int) -> None:
    url = Url(f"http://127.0.0.1:{port}/slide.svs?version=1")
    assert allowed_url(url, [f"127.0.0.1:{port}"]) is url
    assert Answers.asked == ["/slide.svs?version=1"]


def test_a_host_that_is_not_named_is_never_asked(port: int) -> None:
    for hosts in ([], ["127.0.0.1"], [f"localhost:{port}"], ["*.0.0.1"]):
        with pytest.raises(NotAllowed, match="is not a place that slides are taken from"):
            allowed_url(Url(f"http://127.0.0.1:{port}/slide.svs"), hosts)
    assert Answers.asked == []


@pytest.mark.parametrize("to", ["http://192.0.2.1/x", "http://169.254.169.254/latest/meta-data", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_host_is_refused_and_not_followed(port: int, to: str) -> None:
    with pytest.raises(NotAllowed):
        allowed_url(Url(f"http://127.0.0.1:{port}/to/{to}"), [f"127.0.0.1:{port}"])


def test_a_redirect_on_the_same_host_is_followed_but_not_for_ever(port: int) -> None:
    hosts = [f"127.0.0.1:{port}"]
    assert allowed_url(Url(f"http://127.0.0.1:{port}/to//slide.svs"), hosts)
    assert Answers.asked == ["/to//slide.svs", "/slide.svs"]
    with pytest.raises(NotAllowed, match="redirects too often"):
        allowed_url(Url(f"http://127.0.0.1:{port}/to/?again"), hosts)


def test_what_a_pattern_allows_may_not_lie_in_a_private_network_nor_a_name_on_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolved(number: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 443))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)

    for number in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "::ffff:10.0.0.1", "fd00::1"):
        resolved(number)
        with pytest.raises(NotAllowed, match="private network"):
            allowed_url(Url("https://a.example.org/x.svs"), ["*.example.org"])
    resolved("169.254.169.254")
    for hosts in (["*.example.org"], ["a.example.org"]):
        with pytest.raises(NotAllowed, match="link-local"):
            allowed_url(Url("https://a.example.org/x.svs"), hosts)
    with pytest.raises(NotAllowed, match="not a place"):
        allowed_url(Url("https://example.org/x.svs"), ["*.example.org"])


def test_addresses_with_passwords_and_of_other_kinds_are_refused() -> None:
    with pytest.raises(NotAllowed, match="user or password") as e:
        allowed_url(Url("https://me:secret@example.org/x.svs"), ["example.org"])
    assert "secret" not in str(e.value)
    with pytest.raises(NotAllowed, match="invalid port"):
        allowed_url(Url("https://example.org:99999999/x.svs"), ["example.org"])
    with pytest.raises(NotAllowed, match=r"file:// cannot be read"):
        allowed_url(Url("file:///etc/passwd"), ["example.org"])


def test_a_bucket_is_allowed_by_its_name() -> None:
    url = Url("s3://slides/a.svs")
    assert allowed_url(url, ["s3://slides"]) is url
    with pytest.raises(NotAllowed):
        allowed_url(Url("s3://others/a.svs"), ["s3://slides"])
