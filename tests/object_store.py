"""An object store on loopback that speaks S3: moto's server, an emulator, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO
from urllib.request import Request, urlopen

from services import need


@contextmanager
def object_store() -> Iterator[str]:
    """The address of a server that holds buckets in memory, which ends with the block."""
    need(find_spec("moto") is not None, "moto", "pip install 'moto[s3]' flask flask-cors")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MOTO_"))}
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(words, env=environment, stdout=said, stderr=said)
        try:
            yield _address(server, said)
        finally:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen[bytes], said: IO[str]) -> str:
    """Where the server listens, once it says so."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        said.seek(0)
        text = said.read()
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", text):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"no server: {said.read()}")


def new_bucket(endpoint: str) -> str:
    """The address of a new, empty bucket."""
    name = f"kras-{uuid.uuid4().hex[:12]}"
    urlopen(Request(f"{endpoint}/{name}", method="PUT"), timeout=30).close()
    return f"s3://{name}"


def credentials(endpoint: str) -> dict[str, str]:
    """The environment in which the server is reached."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "TESTKEY",
        "AWS_SECRET_ACCESS_KEY": "TESTSECRET",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
