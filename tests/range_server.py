"""An HTTP server on loopback that gives files by ranges, and fails on request as servers of archives do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from local_http import Handler, served


@dataclass
class Behavior:
    """How the server is. What is set between requests holds from the next one on.

    `ranges`: whether it knows them. `statuses`: the answers to the next requests, before any that goes well; each is a
    status, or one with `Retry-After` seconds. `changes_after`: so many answers later the object is another one.
    `empty_as_range`: an empty file is sent as bytes 0 to 0 of 0, as s3rver does, in place of 416.
    `moved_to`: it answers with a redirect to there. `cut`: bodies end after so many bytes. `delay`: seconds an answer
    takes. `says`: the text of an answer that refuses. `asked`: (method, path with query, range, status).
    """

    ranges: bool = True
    etags: bool = True
    empty_as_range: bool = False
    statuses: list[int | tuple[int, float]] = field(default_factory=list)
    changes_after: int | None = None
    moved_to: str = ""
    says: str = ""
    cut: int | None = None
    delay: float = 0.0
    asked: list[tuple[str, str, str, int]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> int:
        """Bytes of answers with content."""
        return sum(
            int(m[2]) - int(m[1]) + 1
            for *_, r, s in self.asked
            if s == 206 and (m := re.match(r"bytes=(\d+)-(\d+)", r))
        )


@contextmanager
def range_server(folder: Path, behavior: Behavior | None = None) -> Iterator[tuple[str, Behavior]]:
    """Serve the files of a folder on a free port of loopback; gives the address and how it behaves."""
    behavior = behavior or Behavior()
    with served(_Handler, folder=folder, behavior=behavior) as address:
        yield address, behavior


class _Handler(Handler):
    folder: Path
    behavior: Behavior

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        behavior, wanted = self.behavior, self.headers.get("Range", "")
        time.sleep(behavior.delay)
        with behavior.lock:
            status = behavior.statuses.pop(0) if behavior.statuses else 0
            changed = behavior.changes_after is not None and len(behavior.asked) >= behavior.changes_after
            behavior.headers.append(dict(self.headers))
        if status:
            code, after = status if isinstance(status, tuple) else (status, None)
            told = {} if after is None else {"Retry-After": f"{after:g}"}
            return self._send(code, behavior.says.encode(), told, body)
        if behavior.moved_to:
            return self._send(302, b"", {"Location": behavior.moved_to + self.path}, body)
        file = self.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not file.is_file():
            return self._send(404, b"", {}, body)
        content = file.read_bytes()
        content = content[::-1] if changed else content
        tag = f'"{sha256(content).hexdigest()[:16]}"'
        headers = {"Last-Modified": formatdate(1e9 + changed, usegmt=True)}
        headers |= {"ETag": tag} if behavior.etags else {}
        headers |= {"Accept-Ranges": "bytes"} if behavior.ranges else {}
        if self.headers.get("If-Match", tag) != tag:
            return self._send(412, b"", headers, body)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted) if behavior.ranges else None
        if found is None:
            return self._send(200, content, headers, body)
        first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
        if not content and behavior.empty_as_range:
            return self._send(206, b"", headers | {"Content-Range": "bytes 0-0/0"}, body)
        if first >= len(content):
            return self._send(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"}, body)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(206, content[first : last + 1], headers, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        behavior = self.behavior
        with behavior.lock:
            behavior.asked.append((self.command, self.path, self.headers.get("Range", ""), status))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content if behavior.cut is None or status >= 300 else content[: behavior.cut])
            if behavior.cut is not None:
                self.close_connection = True
