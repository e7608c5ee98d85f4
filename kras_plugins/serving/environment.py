"""The server's own Python environment: `tritonserver` and its engine, apart from kras because they require numpy 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from platformdirs import user_data_path

from kras_plugins.errors import BackendError

# Run by the environment's own interpreter: where its parts are and what its engine can do on this processor. Isolated
# (-I; `-P` is unknown before Python 3.11), as pip is, so that neither imports a module from the current folder.
_PROBE = """
import importlib.metadata, json, os, sys, sysconfig, pytriton
sys.modules["openvino_telemetry"] = None  # as in host/telemetry.py
import openvino
inside = os.path.join(os.path.dirname(pytriton.__file__), "tritonserver")
capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
print(json.dumps({
    "server": os.path.join(inside, "bin", "tritonserver"),
    "backend": os.path.join(inside, "backends", "python"),
    "stub": os.path.join(inside, "python_backend_stubs", sysconfig.get_python_version(), "triton_python_backend_stub"),
    "libraries": [os.path.join(inside, "..", "..", "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")],
    "engine": "openvino " + importlib.metadata.version("openvino"),
    "has_bf16": "BF16" in capabilities,
}))
"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where the parts of an installed server lie.

    `python`: its interpreter. `server`: the tritonserver binary. `backend`: folder of Triton's Python backend. `stub`:
    the process that runs a model's Python, built for this interpreter's version. `libraries`: folders the loader must
    search. `engine`: what computes, with its version; `has_bf16`: whether it can do so in bfloat16 here.
    """

    python: Path
    server: Path
    backend: Path
    stub: Path
    libraries: tuple[Path, ...]
    engine: str
    has_bf16: bool


def folder() -> Path:
    """Where it is: KRAS_TRITON_ENV, else beside kras' own virtual environment, else in the user's data."""
    if chosen := os.environ.get("KRAS_TRITON_ENV"):
        return Path(chosen).absolute()
    return Path(f"{sys.prefix}-triton") if sys.prefix != sys.base_prefix else user_data_path("kras") / "triton"


def requirements() -> list[str]:
    """What the environment contains: the extra `triton-server` of this distribution, the only place that states it."""
    wanted = (r for r in metadata.requires("kras") or [] if "extra ==" in r and "triton-server" in r)
    return [r.split(";")[0].strip() for r in wanted]


def install() -> Environment:
    """Make the environment, or repair it; takes half a minute and needs a network.

    Raises BackendError when the server is not available for this system.
    """
    if sys.platform != "linux":
        raise BackendError(
            "the packaged Triton server runs on Linux only", "use NVIDIA's container: `kras model serve --print docker`"
        )
    where = folder()
    if not (where / "bin" / "python").exists():
        venv.create(where, with_pip=True)
    done = subprocess.run(
        [where / "bin" / "python", "-I", "-m", "pip", "install", "--quiet", *requirements()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:]
        raise BackendError(f"pip could not install the Triton server: {' '.join(lines)}", "check the network")
    return find()


def find() -> Environment:
    """The installed environment; BackendError when it is missing or does not work."""
    python = folder() / "bin" / "python"
    if not python.exists():
        raise BackendError(f"no Triton server at {folder()}", "make it once with `kras model serve --install`")
    done = subprocess.run([python, "-I", "-c", _PROBE], capture_output=True, text=True, check=False)
    if done.returncode:
        cause = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise BackendError(
            f"the Triton server at {folder()} does not work: {cause}", "run `kras model serve --install`"
        )
    found = json.loads(done.stdout)
    if not Path(found["stub"]).exists():
        raise BackendError(
            f"the packaged Triton server has no stub for Python {sys.version_info.major}.{sys.version_info.minor}",
            "set KRAS_TRITON_ENV to an environment of Python 3.8 to 3.13 that contains nvidia-pytriton and openvino",
        )
    return Environment(
        python=python,
        server=Path(found["server"]),
        backend=Path(found["backend"]),
        stub=Path(found["stub"]),
        libraries=tuple(Path(p) for p in found["libraries"]),
        engine=found["engine"],
        has_bf16=found["has_bf16"],
    )
