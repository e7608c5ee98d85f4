"""Start the packaged Triton server on a model repository, wait until it is ready, stop it without a trace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kras_plugins.errors import BackendError, ConfigError
from kras_plugins.files.leftovers import scratch
from kras_plugins.serving.environment import Environment, find

ENGINE = Path(__file__).parent / "triton_model.py"
"""What runs models in the packaged server; see `triton_model.py`."""

IDENTITY = "kras"
"""First word of the server's identity, `kras/ENGINE/PRECISION`, by which clients know what actually computes."""

DEFAULT_PORTS = {"grpc": 8001, "http": 8000, "metrics": 8002}
"""Triton's own."""

CPU_BATCH = 2
"""Tiles per inference on a CPU, as in the backend `local` (docs/decisions/0003)."""

_STOP_S = 20.0
_REGION = "triton_onnxruntime_backend_shm_region_"
_NEW_S = 60.0
"""Shared memory as new as this may belong to a server that is about to map it."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this host itself, whatever proxies the environment names."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server: its process, host and ports, and its log file."""

    process: subprocess.Popen[bytes]
    host: str
    grpc: int
    http: int
    metrics: int
    log: Path

    @property
    def url(self) -> str:
        """What clients connect to (gRPC)."""
        return f"{self.host}:{self.grpc}"

    def last_words(self, lines: int = 8) -> str:
        """What the log says of failures, else its end without Triton's tables."""
        text = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        told = [line for line in text if re.search(r"failed to load '|UNAVAILABLE|^error:|Error:.*model", line)]
        return "\n".join((told or [line for line in text if line[0] not in "|+"])[-lines:])


@contextmanager
def serving(
    repository: Path,
    *,
    host: str = "127.0.0.1",
    ports: dict[str, int] | None = None,
    precision: Literal["auto", "f32", "bf16"] = "auto",
    ready_s: float = 300.0,
    engine: Path = ENGINE,
    arguments: Sequence[str] = (),
) -> Iterator[Server]:
    """Serve a repository until the block ends; yields when every model is ready.

    `ports`: of grpc, http and metrics, free ones for those that are left out. `precision`: arithmetic of the CPU,
    `auto` is bf16 where the processor has it. `engine`: what runs the models. `arguments`: further ones of
    tritonserver (TLS, tokens). Models that were configured but not exported are left out. Raises BackendError with the
    end of the log when the server cannot start.
    """
    models = sorted({f.parent.parent.name for f in repository.glob("*/[0-9]*/model.onnx")})
    if not models:
        raise BackendError(f"{repository}: no NAME/VERSION/model.onnx in it", "write models with `kras model export`")
    environment = find()
    computes = _precision(precision, environment)
    _clear_unmapped()
    with scratch("triton") as work:
        with free_ports(host) as free:
            chosen = free | (ports or {})
            backend = _assemble(environment, engine, work / "backends" / "onnxruntime")
            command = [
                str(environment.server),
                f"--model-repository={repository.resolve()}",
                f"--backend-directory={backend.parent}",
                f"--id={IDENTITY}/{environment.engine} batch {CPU_BATCH}/{computes}",
                *(f"--{service}-address={host}" for service in ("grpc", "http", "metrics")),
                *(f"--{service}-port={port}" for service, port in chosen.items()),
                f"--exit-timeout-secs={int(_STOP_S / 2)}",
                # Explicit: a model can be reloaded while others are served, and a half-written folder is harmless.
                "--model-control-mode=explicit",
                *(f"--load-model={name}" for name in models),
                *arguments,
            ]
            log = work / "triton.log"

            def start() -> Server:
                with log.open("ab") as out:
                    process = subprocess.Popen(
                        command,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        cwd=work,  # the stub's interpreter looks for modules in the current folder first
                        env=_variables(environment, computes),
                        start_new_session=True,
                        preexec_fn=_end_with_parent,
                    )
                return Server(process=process, host=host, log=log, **chosen)

            server = _ready(start, ready_s)
        regions = _mapped(server.process.pid)
        try:
            yield server
        finally:
            regions |= _mapped(server.process.pid)
            stop(server)
            for file in regions:  # of a server that was killed
                with suppress(OSError):
                    file.unlink()


def _mapped(pid: int) -> set[Path]:
    """The shared memory of a server, or of one of its stubs, that a process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {Path(line.split(maxsplit=5)[5]) for line in lines if f"/dev/shm/{_REGION}" in line}


def _clear_unmapped() -> None:
    """Remove shared memory that killed servers left behind: no process has it mapped (Linux).

    Its name is that of our engine in Python; NVIDIA's own `onnxruntime` has no such memory.
    """
    found = set()
    for file in Path("/dev/shm").glob(f"{_REGION}*"):
        with suppress(FileNotFoundError):  # its server stops just now
            if file.stat().st_mtime < time.time() - _NEW_S:
                found.add(file)
    for entry in Path("/proc").iterdir() if found else ():
        if entry.name.isdigit():
            found -= _mapped(int(entry.name))
    for file in found:
        with suppress(OSError):  # another user's, or removed by now
            file.unlink()


def _ready(start: Callable[[], Server], seconds: float, again: bool = True) -> Server:
    """A started server that is ready. One that crashes while it starts is started `again`, once.

    Triton 2.51 aborts once in about a hundred starts, in a lock of its Python backend's shared memory
    (`boost::interprocess::lock_exception`). Raises BackendError where it ends otherwise, or crashes twice.
    """
    server = start()
    try:
        _wait_until_ready(server, seconds)
    except BaseException as e:
        crashed = (server.process.poll() or 0) < 0
        stop(server)
        if not (again and crashed and isinstance(e, BackendError)):
            raise
        return _ready(start, seconds, again=False)
    return server


def stop(server: Server) -> None:
    """End the server and every process it started; harmless when it is gone."""
    if sys.platform == "win32":  # where no server starts
        return
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGCONT)  # a stopped process would not get the next signal
        server.process.terminate()
        try:
            server.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)  # the stubs of a server that was killed


@contextmanager
def free_ports(host: str = "127.0.0.1") -> Iterator[dict[str, int]]:
    """Triton's usual ports where nobody listens on any of them or is about to, else three free ones.

    Two servers that start at the same time both find the usual ports free, and gRPC lets them share a port: clients
    then reach either. So no other process gets the usual ports until the block ends, when the server listens.
    """
    family = socket.AF_INET
    if sys.platform == "linux":
        family = socket.AF_UNIX
    with socket.socket(family) as claim:
        if _is_first(claim) and all(_is_free(host, port) for port in DEFAULT_PORTS.values()):
            yield dict(DEFAULT_PORTS)
            return
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for s in (a, b, c):
            s.bind((host, 0))
        ports = {name: s.getsockname()[1] for name, s in zip(DEFAULT_PORTS, (a, b, c), strict=True)}
    yield ports


def _is_first(claim: socket.socket) -> bool:
    """Whether nobody else has the claim: a name that Linux, where the packaged server is, gives to one socket."""
    if sys.platform == "linux":
        try:
            claim.bind("\0kras-triton-ports")
        except OSError:
            return False
    return True


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError:
            return False
        return True


def _precision(asked: str, environment: Environment) -> str:
    if asked == "bf16" and not environment.has_bf16:
        raise ConfigError("this processor has no fast bf16", "serve with --precision f32")
    return asked if asked != "auto" else ("bf16" if environment.has_bf16 else "f32")


def _assemble(environment: Environment, engine: Path, folder: Path) -> Path:
    """A backend folder: Triton's Python library and stub with our `model.py`. Triton refuses links that leave it."""
    folder.mkdir(parents=True)
    shutil.copy(environment.backend / "libtriton_python.so", folder)
    shutil.copy(environment.backend / "triton_python_backend_utils.py", folder)
    shutil.copy(environment.stub, folder)
    shutil.copy(engine, folder / "model.py")
    return folder


def _variables(environment: Environment, precision: str) -> dict[str, str]:
    libraries = [str(p) for p in environment.libraries]
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OMP_"))},
        "PATH": f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep),
        "KRAS_PRECISION": precision,
        "KRAS_BATCH": str(CPU_BATCH),
    }


def _end_with_parent() -> None:
    """Runs in the new process: the kernel ends it when kras is killed, so that no server is left behind."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _wait_until_ready(server: Server, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise BackendError(
                f"the Triton server ended while it started:\n{server.last_words()}",
                "the lines above say why; export the models again if one cannot be loaded",
            )
        # Over HTTP: gRPC may require certificates and tokens that the starting process does not have.
        with (
            suppress(OSError),
            _DIRECT.open(f"http://{server.host}:{server.http}/v2/health/ready", timeout=2),
            socket.create_connection((server.host, server.grpc), timeout=2),
            socket.create_connection((server.host, server.metrics), timeout=2),  # which Triton opens last
        ):
            return
        time.sleep(0.2)
    raise BackendError(f"the Triton server was not ready within {seconds:.0f} s:\n{server.last_words()}", "wait longer")
