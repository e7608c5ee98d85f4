"""A real DICOMweb server, Orthanc, and what stands before it: a proxy that counts, and fails on demand."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_http import Handler, served
from services import need

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Server:
    """`root`: its address; DICOMweb is below `/dicom-web`."""

    root: str

    def store(self, files: Sequence[Path]) -> None:
        """Upload files; one that is there already is replaced."""
        for file in files:
            asked = urllib.request.Request(f"{self.root}/instances", file.read_bytes(), method="POST")
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert answer.status == 200

    def series(self, study: str, series: str) -> str:
        """The address of a series."""
        return f"{self.root}/dicom-web/studies/{study}/series/{series}"


@contextmanager
def orthanc(folder: Path) -> Iterator[Server]:
    """An Orthanc of its own on a free port of loopback; the test is skipped where it is not installed."""
    need(
        shutil.which("Orthanc") is not None and PLUGIN.exists(),
        "Orthanc with DICOMweb",
        "apt-get install orthanc orthanc-dicomweb",
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "StorageDirectory": str(folder / "stored"), "IndexDirectory": str(folder / "stored"), "HttpPort": port,
        "RemoteAccessAllowed": False, "DicomServerEnabled": False, "OverwriteInstances": True,
        "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", "orthanc.json"], cwd=folder, stdout=log, stderr=log)
        server = Server(f"http://127.0.0.1:{port}")
        try:
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(30)


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "Orthanc ended"
        try:
            with urllib.request.urlopen(f"{server.root}/system", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("Orthanc does not answer")


@dataclass
class Front:
    """How the proxy is. What is set between requests holds from the next one on.

    `statuses`: the answers to the next requests, before any that is passed on; each is a status, or one with
    `Retry-After` seconds. `refuses`: gives a status for a path that it will not pass on, else 0. `cuts`: so many
    answers break off in the middle. `says`: what is answered in place of the server. `asked`: path with query, status,
    bytes of the body; `headers` of each.
    """

    statuses: list[int | tuple[int, int]] = field(default_factory=list)
    refuses: Callable[[str], int] = lambda _path: 0
    cuts: int = 0
    says: bytes | None = None
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> int:
        """Bytes of all bodies."""
        return sum(size for *_, size in self.asked)


@contextmanager
def proxy(server: Server) -> Iterator[tuple[Server, Front]]:
    """A proxy before the server, on a port of its own."""
    front = Front()
    with served(_Handler, front=front, behind=server.root.removeprefix("http://")) as address:
        yield Server(address), front


class _Handler(Handler):
    front: Front
    behind: str

    def do_GET(self) -> None:
        front, more = self.front, {}
        with front.lock:
            front.headers.append({name.lower(): value for name, value in self.headers.items()})
            stated = front.statuses.pop(0) if front.statuses else front.refuses(self.path)
            cut, front.cuts = front.cuts > 0, max(0, front.cuts - 1)
        if isinstance(stated, tuple):
            stated, more = stated[0], {"Retry-After": str(stated[1])}
        if stated or front.says is not None:
            return self._send(stated or 200, front.says or b"", more, False)
        behind = http.client.HTTPConnection(self.behind, timeout=30)
        try:
            behind.request("GET", self.path, headers={"Accept": self.headers["Accept"]})
            answer = behind.getresponse()
            body, kind = answer.read(), answer.headers["Content-Type"]
            self._send(answer.status, body, {} if kind is None else {"Content-Type": kind}, cut)
        finally:
            behind.close()

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: bool) -> None:
        sent = body[: len(body) // 2] if cut else body
        with self.front.lock:
            self.front.asked.append((self.path, status, len(sent)))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = cut
