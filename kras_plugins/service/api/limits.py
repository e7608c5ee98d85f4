"""Limits: requests per minute for each token or address, and bytes per request."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from kras_plugins.service.api.problems import answered

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kras_plugins.service.api.access import Who
    from kras_plugins.service.api.reach import Reach

_MOST_KNOWN = 10_000
UPLOADS = "/api/v1/uploads/"
"""Where pieces of uploads are sent, which are larger than other requests."""


class Buckets:
    """A token bucket for each caller: `per_minute` tokens, refilled evenly. `clock`: seconds. Thread-safe."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> float:
        """Take a token; returns 0 if there was one, else the seconds until the next one."""
        with self._lock:
            now = self._clock()
            left, since = self._known.pop(who, (self._most, now))
            left = min(self._most, left + (now - since) * self._most / 60)
            got = left >= 1
            self._known[who] = (left - got, now)
            if len(self._known) > _MOST_KNOWN:  # those not seen for longest have a full bucket again, or soon will
                self._known.popitem(last=False)
        return 0.0 if got else (1 - left) * 60 / self._most


class Limits:
    """Middleware behind `Access`: answers 429 and 413. Static files and a slide's tiles do not count."""

    def __init__(self, app: ASGIApp, reach: Reach) -> None:
        self.app = app
        self._reach = reach
        self._buckets = Buckets(reach.per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if (wait := self._wait(scope)) > 0:
            answer = answered(scope, 429, "too many requests", f"wait at least {wait:.0f} s")
            answer.headers["Retry-After"] = str(int(wait) + 1)
            await answer(scope, receive, send)
            return
        piece = scope["method"] == "PATCH" and scope["path"].startswith(UPLOADS)
        most = self._reach.most_piece if piece else self._reach.most_body
        said = Headers(scope=scope).get("content-length", "0")
        if not said.isdecimal() or len(said) > 18 or int(said) > most:
            await answered(scope, 413, *_too_large(most))(scope, receive, send)
            return
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:  # sent in chunks, without a declared length
                raise HTTPException(413, _too_large(most)[0])
            return message

        await self.app(scope, counted, send)

    def _wait(self, scope: Scope) -> float:
        who: Who | None = scope.get("state", {}).get("who")
        path = scope["path"]
        if path.startswith("/static/") or (who is not None and path.startswith("/cases/") and "/view/" in path):
            return 0.0
        return self._buckets.take(who.id if who is not None else f"address {(scope.get('client') or ('',))[0]}")


def _too_large(most: int) -> tuple[str, str]:
    return f"more than {most:,} bytes", "send less; send slides in pieces, to /api/v1/uploads"
