"""The address of a server: its form, whether it is this host's, and what listens there."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import Any

from kras_plugins import BackendError

UNIX = "unix:"

DNS = "dns:///"

_PROBE_S = 2.0
"""Seconds that a connection, and an answer, may take."""

_SETTINGS = b"\4"
"""Type of the frame, in its fourth byte, with which every HTTP/2 server begins, hence every gRPC server."""

_ALERT = b"\x15\3"
"""How the answer of a TLS server to unencrypted requests begins."""


def read_address(text: str) -> str:
    """HOST:PORT or unix:PATH, as gRPC requires; BackendError saying what is wrong and what to write."""
    url = text.removeprefix("grpc://")
    if url.startswith(UNIX):
        return url
    scheme, mark, rest = url.rpartition("://")
    host, _, port = rest.partition("/")[0].rpartition(":")
    wanted = f"{host or rest.partition('/')[0]}:{port if host and not mark else 8001}"
    if mark:
        tls = " and -o backend.triton.tls=true" if scheme == "https" else ""
        raise BackendError(
            f"{text}: a gRPC address does not begin with {scheme}://",
            f"write HOST:PORT with the gRPC port, 8001 unless it was changed: {wanted}{tls}",
        )
    if "/" in rest:
        raise BackendError(f"{text}: a gRPC address has no path, not even a slash", f"write {wanted}")
    if not host or (":" in host and not host.startswith("[")):
        raise BackendError(
            f"{text}: a gRPC address is HOST:PORT", "write for example localhost:8001, or [::1]:8001 with IPv6"
        )
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16):
        raise BackendError(
            f"{text}: {port or 'nothing'} is not a port", f"write a number from 1 to 65535, for example {host}:8001"
        )
    return url


def read_addresses(text: str) -> list[tuple[str, str]]:
    """What one address stands for: (HOST:PORT, name in the server's certificate, empty for the host itself).

    `dns:///HOST:PORT` stands for every address that the name has now, each a separate server: gRPC's own balancing
    would check one and ask another. BackendError where the name has none.
    """
    if not text.startswith(DNS):
        return [(read_address(text), "")]
    url = read_address(text.removeprefix(DNS))
    host, port = _parts(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as e:
        raise BackendError(f"{text}: unknown host", "start the servers first, or name each") from e
    names = sorted({str(where[0]) for _, _, _, _, where in found})
    return [(f"[{name}]:{port}" if ":" in name else f"{name}:{port}", host) for name in names]


def is_here(url: str) -> bool:
    """Whether an address is this host's: a loopback one, or one of its own interfaces."""
    if url.startswith(UNIX):
        return True
    try:
        found = socket.getaddrinfo(*_parts(url), type=socket.SOCK_DGRAM)
    except OSError:
        return False  # an unknown name is not this host's
    return all(_is_own(family, where) for family, _, _, _, where in found)


def _is_own(family: int, where: tuple[Any, ...]) -> bool:
    address = ipaddress.ip_address(where[0].partition("%")[0])
    if address.is_loopback or address.is_unspecified:
        return True
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as s:
        s.connect(where)  # sends nothing
        return bool(s.getsockname()[0] == where[0])
    return False


def why_unreachable(url: str) -> str:
    """Why no connection can be made, tried directly, whatever proxies are set; empty if something listens."""
    if url.startswith(UNIX):
        return ""
    try:
        socket.create_connection(_parts(url), timeout=_PROBE_S).close()
    except ConnectionRefusedError:
        return "nothing listens there"
    except socket.gaierror:
        return "unknown host"
    except OSError as e:
        return f"it cannot be reached: {e.strerror or e}"
    return ""


def refuse_others(url: str, encrypted: bool) -> None:
    """Raise BackendError if the service there is not a gRPC server, or encrypts when we do not.

    It is sent a line of HTTP; a gRPC server answers nothing, or in frames. Only for servers with which gRPC could not
    even begin to communicate: a proxy in front of others may speak HTTP as well.
    """
    if url.startswith(UNIX):
        return
    said = b""
    with suppress(OSError), socket.create_connection(_parts(url), timeout=_PROBE_S) as s:
        s.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        said = s.recv(64)
    if said.startswith(b"HTTP/"):
        raise BackendError(
            f"{url}: an HTTP server answers there, not a gRPC server",
            "give the server's gRPC port: Triton's are 8001 for gRPC, 8000 for HTTP and 8002 for metrics",
        )
    if said.startswith(_ALERT):
        if not encrypted:
            raise BackendError(f"{url}: the server there encrypts", "set -o backend.triton.tls=true")
    elif said and said[3:4] != _SETTINGS:
        raise BackendError(
            f"{url}: something other than Triton listens there; it says {said.decode('ascii', 'replace').strip()!r}",
            "give the address that `kras model serve` prints, or the server's gRPC port",
        )


def _parts(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition(":")
    return host.strip("[]"), int(port)
