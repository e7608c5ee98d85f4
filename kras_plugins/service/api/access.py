"""Who is asking: a program with its token, a browser with its cookie, or a person whom a trusted proxy names.

As with `kras view`, each request must name this service's own host: a foreign name that resolves to it is refused (DNS
rebinding). No other site may embed, read or keep an answer. A request of a browser that changes something must come
from one of our own pages (Origin, Fetch metadata) and carry a token that only these pages know (CSRF).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Form, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from kras_plugins.service.api.problems import Refused, answered
from kras_plugins.service.tokens import SCOPES, find
from kras_plugins.viewer.access import HEADERS, with_headers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from kras_plugins.service.parts import Service

POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The viewer's policy, and forms may be sent to this service."""
# Forms report their origin to this service alone: without a referrer a browser would send the origin "null".
_HEADERS = {**HEADERS, "Referrer-Policy": "same-origin"}
OPEN = ("/login", "/static/", "/healthz", "/readyz")
"""Paths that anybody may request: nothing about patients is below them."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Who:
    """Who is asking. `id`: by which rate limits are counted; `name`: as the audit records it.

    `csrf`: the token that forms of a browser carry; "" for a program, which sends its own token with each request.
    """

    id: str
    name: str
    scopes: frozenset[str]
    csrf: str = ""


class Access:
    """Middleware that finds out who asks, refuses strangers, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, service: Service, key: bytes) -> None:
        """`key`: signs the forms of users who come through a proxy."""
        self.app = app
        self._service = service
        self._reach = service.reach
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = await self._refusal(scope)
        await (answer or self.app)(scope, receive, with_headers(send, _HEADERS, POLICY))

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that does not get through; None for one that does, with `who` in its state."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or not self._reach.knows(headers["host"]):
            return answered(scope, 421, "this address is not the service's own", "use the address that it printed")
        who = await run_in_threadpool(self.who, scope)
        scope.setdefault("state", {})["who"] = who
        if scope["method"] not in _SAFE and (who is None or who.csrf) and _is_foreign(headers):
            return answered(scope, 403, "this request comes from another site", "use the pages of this service")
        if who is not None or scope["path"].startswith(OPEN):
            return None
        if scope["path"].startswith("/api/") or scope["method"] not in ("GET", "HEAD"):
            answer = answered(scope, 401, "no valid token", "send `Authorization: Bearer TOKEN`")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return RedirectResponse(f"/login?next={quote(scope['path'], safe='/')}", 303)

    def who(self, scope: Scope) -> Who | None:
        """Who asks, None for a stranger."""
        headers = Headers(scope=scope)
        if (given := headers.get("authorization")) is not None:
            kind, _, secret = given.partition(" ")
            who = holder(self._service, secret.strip()) if kind.lower() == "bearer" else None
            return None if who is None else replace(who, csrf="")
        if self._reach.proxy_header is not None and (scope.get("client") or ("",))[0] in self._reach.proxies:
            name = headers.get(self._reach.proxy_header, "").strip()
            if name and name.isprintable() and len(name) <= _MOST_NAME:
                csrf = hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()
                return Who(id=f"proxy {name}", name=name, scopes=self._reach.proxy_scopes, csrf=csrf)
        secret = HTTPConnection(scope).cookies.get(cookie_name(self._reach.port), "")
        return holder(self._service, secret) if secret else None


def holder(service: Service, secret: str) -> Who | None:
    """Whose secret this is, with the CSRF token of a browser; None if it is nobody's."""
    given = secret.encode(errors="surrogatepass")
    csrf = hmac.new(given, b"form", hashlib.sha256).hexdigest()
    if service.console is not None and secrets.compare_digest(given, service.console.encode()):
        return Who(id="console", name="console", scopes=frozenset(SCOPES), csrf=csrf)
    token = find(service.db, secret)
    return None if token is None else Who(id=token.id, name=token.name, scopes=token.scopes, csrf=csrf)


def cookie_name(port: int) -> str:
    """The cookie of the service at a port: browsers share cookies between ports, and services must not share theirs."""
    return f"kras_serve_{port}"


_bearer = HTTPBearer(auto_error=False, description="a token of `kras serve token new`, by its scopes")


def may(scope: str) -> Callable[..., Who]:
    """A dependency: who is asking, if they have this scope. A change must come from one of our own pages."""

    def allowed(request: Request, _: Annotated[object, Depends(_bearer)]) -> Who:
        who = allowed_to(request, scope)
        if request.method not in _SAFE:
            _check(who, request.headers.get("x-csrf-token", ""))
        return who

    return allowed


def may_by_form(scope: str | None) -> Callable[..., Who]:
    """As `may`, for the forms of pages; with None, for anybody who is logged in."""

    def allowed(request: Request, csrf: Annotated[str, Form(max_length=100)] = "") -> Who:
        who = allowed_to(request, scope)
        _check(who, csrf)
        return who

    return allowed


def allowed_to(request: HTTPConnection, scope: str | None) -> Who:
    """Who is asking. Raises Refused for a stranger (401) or for somebody who lacks the scope (403)."""
    who: Who | None = request.scope.get("state", {}).get("who")
    if who is None:
        raise Refused(401, "no valid token", "log in")
    if scope is not None and scope not in who.scopes:
        raise Refused(403, f"this needs the scope {scope}", "ask for a token that has it: `kras serve token new`")
    return who


def _check(who: Who, given: str) -> None:
    if who.csrf and not secrets.compare_digest(given.encode(), who.csrf.encode()):
        raise Refused(403, "this form belongs to another session", "reload the page and send the form again")


def _is_foreign(headers: Headers) -> bool:
    """Whether the browser says that the request comes from another site."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower()
