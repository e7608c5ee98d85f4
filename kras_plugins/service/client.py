"""A client of the API, for `kras serve submit`."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from kras_plugins.errors import BackendError, UsageError
from kras_plugins.service.api.reach import LOCAL

_TIMEOUT_S = 120.0
_PIECE = 8 << 20
_TRIES = 8


class Client:
    """Asks a service at `url`, with a token that is sent only over TLS or within this machine."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise UsageError(f"{url}: is not an address of a service", "for example http://127.0.0.1:8700")
        if parts.scheme == "http" and host not in LOCAL and host != "::1":
            raise UsageError(f"{url}: the token would be sent unencrypted", "use https://")
        self._url, self._token = url, token
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def submit(self, slides: Sequence[Mapping[str, str]], patient: str | None, priority: int) -> dict[str, Any]:
        """Queue a case; returns it as the API does. Raises UsageError with the service's words if it refuses."""
        asked = json.dumps({"slides": [*slides], "patient": patient, "priority": priority}).encode()
        _, text = self._ask("POST", "/api/v1/cases", {"Content-Type": "application/json"}, asked)
        made: dict[str, Any] = json.loads(text)
        return made

    def send(self, file: Path) -> str:
        """Send a file in pieces, continuing where a break left off; returns the id of the upload."""
        if not file.is_file():
            raise UsageError(f"{file}: not a file", "name a slide that is one file")
        size, name = file.stat().st_size, base64.b64encode(file.name.encode()).decode()
        begin = {"Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
        headers, _ = self._ask("POST", "/api/v1/uploads", begin)
        address, offset, failures = headers["location"], 0, 0
        with file.open("rb") as opened:
            while offset < size:
                opened.seek(offset)
                piece = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
                try:
                    headers, _ = self._ask("PATCH", address, piece, opened.read(_PIECE))
                    failures = 0
                except BackendError:
                    failures += 1
                    if failures > _TRIES:
                        raise
                    time.sleep(min(2.0**failures, 30))
                    headers, _ = self._ask("HEAD", address, {})
                offset = int(headers["upload-offset"])
        return address.rpartition("/")[2]

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers, by names in lower case, and body. BackendError if it is away, UsageError if it refuses."""
        try:
            self._connection.request(method, path, body, {**headers, "Authorization": f"Bearer {self._token}"})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as e:
            self._connection.close()
            raise BackendError(f"{self._url} does not answer: {e}", "see whether `kras serve` runs there") from e
        if answer.status >= 500 or answer.status in (409, 429):
            raise BackendError(*_told(answer.status, text))
        if answer.status >= 400:
            raise UsageError(*_told(answer.status, text))
        return {name.lower(): value for name, value in answer.getheaders()}, text


def _told(status: int, text: bytes) -> tuple[str, str]:
    try:
        problem = json.loads(text)
        return f"the service refuses it: {problem['detail']}", str(problem["remedy"])
    except (ValueError, KeyError, TypeError):
        return f"the service answers {status}", "see its log"
