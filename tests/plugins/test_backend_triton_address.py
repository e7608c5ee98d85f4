"""Addresses of backend triton: proxies are not used for this host, and a wrong address is reported at once, and why."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from triton_server import SIDE, answer, export_tiny, faulty_server, tiny

from kras_backend_triton import TritonOptions
from kras_backend_triton.address import is_here, read_address, read_addresses, why_unreachable
from kras_backend_triton.backend import Triton
from kras_plugins.errors import BackendError
from kras_plugins.serving.server import Server

PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
PATIENT = 120.0
"""Seconds of patience, as by default: the message that comes then is another."""


@pytest.fixture(scope="module")
def dead_port() -> Iterator[int]:
    """A port at which nothing listens, and which nobody else gets."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, dead_port: int) -> Iterator[Server]:
    """A real server, started and asked where every proxy variable names what does not answer."""
    folder = tmp_path_factory.mktemp("proxies")
    export_tiny(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in PROXIES:
            patch.setenv(name, f"http://127.0.0.1:{dead_port}")
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            patch.delenv(name, raising=False)
        with faulty_server(folder, patch) as (found, _):
            yield found


def connect(url: str, **options: object) -> Triton:
    return Triton(TritonOptions.model_validate({"url": url, "patience_s": PATIENT, "wait_s": 0, **options}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxies_do_not_stand_between_kras_and_a_server_on_this_host(server: Server, host: str) -> None:
    backend = connect(f"{host}:{server.grpc}")
    given = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    found = backend.load(tiny())({"tiles": given})["features"]
    backend.close()
    np.testing.assert_allclose(found, answer(given), rtol=1e-5)


def test_where_nothing_listens_that_is_said_at_once(server: Server, dead_port: int) -> None:
    with pytest.raises(BackendError, match=rf"127\.0\.0\.1:{dead_port}: nothing listens there") as caught:
        connect(f"127.0.0.1:{dead_port}")
    assert "kras model serve" in caught.value.hint
    assert "wait_s" in caught.value.hint
    with pytest.raises(BackendError, match="unknown host"):
        connect("no-such-host.invalid:8001")


def test_one_server_that_answers_is_enough(server: Server, dead_port: int) -> None:
    connect(f"127.0.0.1:{dead_port},{server.url}").close()


@pytest.mark.parametrize("which", ["http", "metrics"])
def test_another_port_of_triton_is_told_from_its_grpc_port(server: Server, which: str) -> None:
    with pytest.raises(BackendError, match="an HTTP server answers there") as caught:
        connect(f"127.0.0.1:{getattr(server, which)}")
    assert "8001 for gRPC" in caught.value.hint


def test_a_server_that_is_asked_for_tls_and_has_none_is_told_at_once(server: Server) -> None:
    with pytest.raises(BackendError, match="Tls handshake failed"):
        connect(server.url, tls=True)


class _Plain(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Plain) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield web.server_port
        web.shutdown()


@contextmanager
def greeter(says: bytes) -> Iterator[int]:
    """A service that speaks first, or complains, in its own way; it ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            while True:
                try:
                    other, _ = listening.accept()
                except OSError:
                    return
                with other, suppress(OSError):  # whoever only looks whether somebody listens has gone
                    other.sendall(says)
                    other.recv(1024)

        thread = threading.Thread(target=greet)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (web_server, "an HTTP server answers there"),
        (lambda: greeter(b"SSH-2.0-OpenSSH_9.6\r\n"), "something other than Triton listens there; it says 'SSH-2.0"),
        (lambda: greeter(b"\x15\x03\x01\x00\x02\x02\x46"), "the server there encrypts"),
    ],
)
def test_what_is_no_grpc_server_is_told_at_once(service: Callable[[], Iterator[int]], said: str) -> None:
    with service() as port:  # type: ignore[attr-defined]
        with pytest.raises(BackendError, match=said):
            connect(f"localhost:{port}")


@pytest.mark.parametrize(
    ("url", "said", "hint"),
    [
        ("http://localhost:8000", "does not begin with http://", "localhost:8001"),
        ("https://gpu1:8001", "does not begin with https://", "gpu1:8001 and -o backend.triton.tls=true"),
        ("https://gpu1/", "does not begin with https://", "gpu1:8001 and -o backend.triton.tls=true"),
        ("localhost:8001/", "no path", "write localhost:8001"),
        ("localhost:8001/v2/models", "no path", "write localhost:8001"),
        ("localhost", "is HOST:PORT", "localhost:8001"),
        ("::1:8001", "is HOST:PORT", "[::1]:8001"),
        ("localhost:99999", "99999 is not a port", "1 to 65535"),  # gRPC takes it modulo 65536
        ("localhost:²", "² is not a port", "1 to 65535"),
        ("localhost:0", "0 is not a port", "1 to 65535"),
        ("localhost:", "nothing is not a port", "localhost:8001"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_with_what_to_write(url: str, said: str, hint: str) -> None:
    with pytest.raises(BackendError) as caught:
        connect(url)
    assert caught.value.message.startswith(f"{url}: ")
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_addresses_as_grpc_wants_them_pass(tmp_path: Path) -> None:
    assert read_address("grpc://gpu1:8001") == "gpu1:8001"
    for url in ("gpu1:8001", "[::1]:8001", f"unix:{tmp_path}/socket"):
        assert read_address(url) == url


def test_this_host_is_known_by_all_its_addresses() -> None:
    for host in ("localhost", "127.0.0.2", "[::1]", socket.gethostname()):
        assert is_here(f"{host}:8001")
    for host in ("192.0.2.1", "no-such-host.invalid"):  # the first is in no network (RFC 5737)
        assert not is_here(f"{host}:8001")


def test_a_server_of_which_only_the_socket_file_is_known_is_left_to_grpc(tmp_path: Path) -> None:
    assert is_here(f"unix:{tmp_path}/socket")
    assert why_unreachable(f"unix:{tmp_path}/socket") == ""


def test_a_dns_name_stands_for_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a headless service: each is checked and balanced separately, and its certificate names the service."""

    def resolved(host: str, port: int, **_: object) -> list[object]:
        assert (host, port) == ("kras-triton", 8001)
        where = [("10.0.0.2", 8001), ("10.0.0.1", 8001), ("10.0.0.2", 8001), ("fd00::1", 8001, 0, 0)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in where]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    found = read_addresses("dns:///kras-triton:8001")
    assert found == [(url, "kras-triton") for url in ("10.0.0.1:8001", "10.0.0.2:8001", "[fd00::1]:8001")]
    assert read_addresses("gpu1:8001") == [("gpu1:8001", "")]


def test_a_dns_name_that_is_unknown_or_no_address_is_told() -> None:
    with pytest.raises(BackendError, match="dns:///no-such-host.invalid:8001: unknown host"):
        read_addresses("dns:///no-such-host.invalid:8001")
    with pytest.raises(BackendError, match="HOST:PORT"):
        read_addresses("dns:///kras-triton")


def test_a_server_is_reached_by_its_dns_name(server: Server) -> None:
    connect(f"dns:///localhost:{server.grpc}").close()
