"""The viewer's server: only on this machine's loopback, until Ctrl-C."""

from __future__ import annotations

import contextvars
import logging
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from kras_plugins.errors import ConfigError
from kras_plugins.viewer.access import new_token
from kras_plugins.viewer.app import create_app

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from kras_plugins.viewer.shown import Shown

LOOPBACK = "127.0.0.1"
PATIENCE = 2.0
"""Seconds that current answers have to finish when the server is asked to end."""


def serve(shown: Shown, port: int, *, browser: bool, announce: Callable[[str], None]) -> None:
    """Serve `shown` until the main thread is interrupted (KeyboardInterrupt, SystemExit), which is raised again.

    `port`: 0 for a free one; `announce` gets the address, including the token, once a browser can open it; `browser`:
    open the user's. A read that never ends is abandoned. Raises ConfigError if the port is in use.
    """
    with listening(LOOPBACK, port) as listener:
        port = listener.getsockname()[1]
        token = new_token()
        with create_app(shown, token, port) as app:
            address = f"http://{LOOPBACK}:{port}/?token={token}"
            announce(address)
            if browser:  # its requests wait in the socket's queue until the server runs
                threading.Thread(target=webbrowser.open, args=(address,), name="kras-browser", daemon=True).start()
            _run(web_server(app), listener)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this machine; `port`: 0 for a free one. ConfigError if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends without delay; else a tile waits 40 ms for its header's acknowledgment.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as e:
        listener.close()
        raise ConfigError(f"port {port} cannot be used: {e.strerror}", "choose another --port, or leave it out") from e
    listener.listen(128)
    return listener


def web_server(app: ASGIApp) -> uvicorn.Server:
    """A server for an application, which does not log addresses."""
    # A bad request gets an answer but no line in the log; a bug keeps its traceback.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # the first address has the token
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run a server in a thread: in the main thread it would not end before every current read has ended."""
    inherit = contextvars.copy_context()  # store, deadline
    thread = threading.Thread(target=inherit.run, args=(server.run, [listener]), name="kras-view", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.5)  # without a timeout it could not be interrupted on Windows
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
