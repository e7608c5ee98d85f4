"""HTTP servers of tests on a free port of loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers without a log, and without waiting until a packet is full."""

    protocol_version = "HTTP/1.1"
    timeout = 5.0

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def served(handler: type[Handler], **given: Any) -> Iterator[str]:
    """The address of a server by `handler`, of which it has the attributes `given`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Own", (handler,), given))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
