"""The viewer's server: on this machine's loopback alone, until Ctrl-C."""

from __future__ import annotations

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
    from kras_plugins.viewer.shown import Shown

LOOPBACK = "127.0.0.1"


def serve(shown: Shown, port: int, *, browser: bool, announce: Callable[[str], None]) -> None:
    """Serve `shown` until the process is interrupted or told to end (SIGTERM).

    `port`: 0 for a free one; `announce` gets the address, token included, once a browser can open it; `browser`: open
    the user's. Raises ConfigError where the port is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as e:
            raise ConfigError(f"port {port} cannot be used: {e.strerror}", "choose another --port, or none") from e
        listener.listen(128)
        port = listener.getsockname()[1]
        token = new_token()
        address = f"http://{LOOPBACK}:{port}/?token={token}"
        announce(address)
        if browser:  # what it asks for waits in the socket's queue until the server runs
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        # Whoever asks nonsense gets an answer and no line here; a bug keeps its traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        with create_app(shown, token, port) as app:
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
            uvicorn.Server(config).run(sockets=[listener])
