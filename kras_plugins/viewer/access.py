"""Who may view: only the browser that was given the token, under this machine's own name, and only to read.

A server on loopback is open to every program of the machine and, through the browser, to every web page. So each
request must carry the token (in the first address, then in a cookie that scripts cannot see), name the loopback host
and port (a foreign name that resolves to 127.0.0.1 is refused: DNS rebinding), and be a GET. No other site may embed,
read or keep an answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page may load: files of its own server, and inline styles (figures have them)."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # nothing about a patient stays in the browser's cache
}
"""Restrictions in every answer."""
# A redirect would belong to a navigation that another program or page began, and would not carry a strict cookie.
_WELCOME = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
    '<title>kras view</title><meta http-equiv="refresh" content="0; url=/"></head>'
    '<body><p><a href="/">Open the viewer</a></p></body></html>'
)


def with_headers(send: Send, headers: Mapping[str, str] = HEADERS, policy: str = POLICY) -> Send:
    """A `send` whose answers carry these headers, and the policy unless they state their own."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            stated = MutableHeaders(scope=message)
            for name, value in headers.items():
                stated[name] = value
            stated.setdefault("Content-Security-Policy", policy)
        await send(message)

    return guarded


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(32)


class Access:
    """Middleware that lets requests through, or answers them with one line; every answer gets the headers above."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app = app
        self.token = token
        # A browser on this machine, or at the near end of a tunnel with the same port, names these.
        self.hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost"))
        self.cookie = f"kras_view_{port}"  # browsers share cookies between ports: two viewers need two names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = self._refusal(scope)
        await (answer or self.app)(scope, receive, with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that does not get through; None for one that does."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self.hosts:
            return PlainTextResponse("this address is not the viewer's own", 421)
        if scope["method"] != "GET":
            return PlainTextResponse("only GET", 405, {"Allow": "GET"})
        if scope["path"] == "/" and (given := parse_qs(scope["query_string"].decode("latin-1")).get("token")):
            if not self._is_token(given[0]):
                return PlainTextResponse("this token is not valid: open the address that `kras view` printed", 403)
            welcome = HTMLResponse(_WELCOME)
            welcome.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return welcome
        if not self._is_token(HTTPConnection(scope).cookies.get(self.cookie, "")):
            return PlainTextResponse("open the address that `kras view` printed", 403)
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())
