"""A receiver of results that takes them, fails, hangs or sends them elsewhere, as it is asked to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from local_http import Handler

SECRET = b"s" * 32


@dataclass
class Got:
    """What a receiver was sent. `answers`: its next answers, then 204; `hold`: set while it keeps senders waiting."""

    answers: list[int | str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


class Receiver(Handler):
    got: Got

    def do_POST(self) -> None:
        self.got.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.headers.append(dict(self.headers))
        self.got.came.set()
        answer = self.got.answers.pop(0) if self.got.answers else 204
        if answer == "hang":
            self.got.go_on.wait(60)
            return
        self.send_response(307 if isinstance(answer, str) else answer)
        if isinstance(answer, str):
            self.send_header("Location", answer)
        self.send_header("Content-Length", "0")
        self.end_headers()
