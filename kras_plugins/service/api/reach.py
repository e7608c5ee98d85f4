"""How a service is reached and how much may be asked of it: addresses, names, an authenticating proxy, limits."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from kras_plugins.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
LOCAL = ("127.0.0.1", "localhost", "[::1]")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Who can reach the service and how much they may ask.

    `host`, `port`: where it listens. `names`: host names under which browsers reach it, besides this machine's own;
    such requests come over TLS, which a proxy terminates. `proxy_header`: the header in which a proxy names its user,
    trusted from `proxies` alone; these users have `proxy_scopes`. `per_minute`: requests of one token or address to the
    API, forms and pages. `most_body`: bytes of one request; `most_piece`: of one piece of an upload; `most_upload`: of
    a complete upload. Raises ConfigError for invalid values.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    names: frozenset[str] = frozenset()
    proxy_header: str | None = None
    proxies: frozenset[str] = field(default=_LOOPBACK)
    proxy_scopes: frozenset[str] = frozenset({"read", "submit"})
    per_minute: int = 600
    most_body: int = 1 << 20
    most_piece: int = 64 << 20
    most_upload: int = 32 << 30

    def __post_init__(self) -> None:
        for name in self.names:
            if _NAME.fullmatch(name) is None:
                raise ConfigError(f"name {name!r}: is not a host name", "for example pathology.example.org")
        for proxy in self.proxies:
            try:
                ipaddress.ip_address(proxy)
            except ValueError as e:
                raise ConfigError(f"proxy {proxy!r}: is not an IP address", "for example 10.0.0.7") from e
        if self.proxy_header is not None and re.fullmatch(r"[A-Za-z0-9-]{1,64}", self.proxy_header) is None:
            raise ConfigError(f"proxy header {self.proxy_header!r}: is not a header name", "for example X-Remote-User")
        if not self.local and not self.names:
            raise ConfigError(
                f"host {self.host}: others can reach it, but no name is set under which they do",
                "add --name pathology.example.org, the name of its TLS proxy",
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in (*_LOOPBACK, "localhost")

    def knows(self, host: str) -> bool:
        """Whether a request for this host means this service; a foreign name that resolves here does not."""
        host = host.lower()
        return host in {f"{name}:{self.port}" for name in LOCAL} or self.is_name(host)

    def is_name(self, host: str) -> bool:
        """Whether it is one of the names that are reached over TLS."""
        return host.lower().removesuffix(":443").removesuffix(f":{self.port}") in {n.lower() for n in self.names}
