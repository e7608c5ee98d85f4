"""What may be named from outside: files below some folders, addresses of some hosts; all else is refused.

A service that opened everything it is given would read any file of its machine for anybody who may submit, and query
any server that it can reach: those of its own network, and those from which clouds hand out credentials.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from kras_plugins.errors import UsageError
from kras_plugins.service.intake.fingerprints import companion
from kras_plugins.urls import SCHEMES, Url

_TIMEOUT_S = 20.0
_PORTS = {"http": 80, "https": 443}
_MOST_HOPS = 5


class NotAllowed(UsageError):
    """The named place may not be read, whether it exists or not."""


def allowed_path(text: str | Path, roots: Iterable[Path]) -> Path:
    """The real path of a slide, links followed, if it and all that belongs to it lie below one of `roots`.

    Raises NotAllowed for anything else, in the same words whether it exists or not, and UsageError for something that
    exists but is neither a file nor a folder.
    """
    refused = NotAllowed("the path is not below a folder that slides are taken from", "see `roots` in the settings")
    tops = [Path(os.path.realpath(root)) for root in roots]
    try:
        found = Path(os.path.realpath(text, strict=True))
        str(found).encode()  # a name that is not text could not be stored
        if not any(found.is_relative_to(top) for top in tops):
            raise refused
        beside = companion(found)
        for folder in (found, beside):
            if folder is not None and folder.is_dir() and not _stays(folder, tops):
                raise refused
        if not (found.is_file() or found.is_dir()):
            raise UsageError("the path is neither a file nor a folder", "name a slide")
    except (OSError, ValueError):  # not there, no permission, a loop of links, a zero byte
        raise refused from None
    return found


def allowed_url(url: Url, hosts: Iterable[str]) -> Url:
    """The address itself, if `hosts` contains its host and no redirect leads to a host that it does not contain.

    An entry is a host (`slides.example.org`, with `:port` unless it is the usual one), `*.example.org` for all hosts
    below it, or a bucket (`s3://name`). A host that only a pattern allows must not be in a private network, on this
    machine or link-local (169.254…, fe80…). A named host may be, but a link-local one only if its number is named.
    A web server may redirect only to hosts that are allowed in the same way.
    Raises NotAllowed, without asking any server that is not allowed.
    """
    named = frozenset(host.lower() for host in hosts)
    if url.scheme not in SCHEMES:
        raise NotAllowed(f"addresses of the kind {url.scheme}:// cannot be read", f"supported are {', '.join(SCHEMES)}")
    if not url.is_web:
        bucket = f"{url.scheme}://{urlsplit(url.text).netloc}"
        if bucket.lower() not in named:
            raise _not_named(bucket)
        return url
    here = url.text
    for _ in range(_MOST_HOPS):
        _check_host(here, named)
        further = _redirect(here)
        if further is None:
            return url
        here = urljoin(here, further)
    raise NotAllowed("the address redirects too often", "name where the slide lies")


def _stays(folder: Path, tops: list[Path]) -> bool:
    """Whether all files below a folder lie, links followed, below one of `tops`."""
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            real = Path(os.path.realpath(os.path.join(at, name)))
            if not any(real.is_relative_to(top) for top in tops):
                return False
    return True


def _check_host(text: str, named: frozenset[str]) -> None:
    parts = urlsplit(text)
    try:
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise NotAllowed("the address has an invalid port", "write https://HOST/…") from None
    if parts.scheme not in _PORTS or not host:
        raise NotAllowed("the address redirects to another kind of address", "name where the slide lies")
    if parts.username is not None:
        raise NotAllowed("the address names a user or password", "give the service its own credentials")
    told = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
    exact = told in named
    below = port in (None, _PORTS[parts.scheme]) and any(
        one.startswith("*.") and host.endswith(one[1:]) for one in named
    )
    if not exact and not below:
        raise _not_named(told)
    for address in _addresses(host, port or _PORTS[parts.scheme]):
        if address.is_link_local and not (exact and _is_number(host)):
            raise NotAllowed(f"{told} is a link-local address", "no slide lies there")
        if not address.is_global and not exact:
            raise NotAllowed(f"{told} is in a private network", "name this exact host in `hosts` of the settings")


def _addresses(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotAllowed(f"{host}: the name server does not know this host", "check the address") from None
    numbers = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    return [(n.ipv4_mapped or n) if isinstance(n, ipaddress.IPv6Address) else n for n in numbers]


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _redirect(text: str) -> str | None:
    """Where a web server redirects a request for the first byte; None if it does not redirect."""
    parts = urlsplit(text)
    host = str(parts.hostname)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Range": "bytes=0-0", "Accept": "*/*"})
        answer = connection.getresponse()
        return answer.getheader("Location") if 300 <= answer.status < 400 else None
    except (OSError, http.client.HTTPException, ValueError):
        raise NotAllowed(f"{host} does not answer", "check the address and the network") from None
    finally:
        connection.close()


def _not_named(what: str) -> NotAllowed:
    return NotAllowed(f"{what} is not a place that slides are taken from", "see `hosts` in the settings")
