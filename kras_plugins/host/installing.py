"""Installing plug-ins into the environment that `kras` runs in, whichever program made it: pip, uv or pipx."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kras_plugins.errors import PluginError
from kras_plugins.files.leftovers import scratch
from kras_plugins.host.compatibility import HOST

_PIPX, _UV_TOOL = "pipx_metadata.json", "uv-receipt.toml"
"""What pipx and `uv tool` leave in an environment of theirs."""

# Run in a new process: this one has cached the installed packages as they were when it started.
_LIST = """
import json
from dataclasses import asdict
from kras_plugins.host.manager import discover
found = discover()
told = [
    {"kind": p.kind, "name": p.record.name, "distribution": p.distribution, "version": p.version}
    for p in found.provided
]
print(json.dumps({"plugins": told, "broken": [b.facts() for b in found.broken]}))
"""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The result of an installation.

    `plugins`: kind, name, distribution and version of those that are new or have changed version. `note`: what the user
    should know about the environment; empty if nothing.
    """

    plugins: tuple[dict[str, str], ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class Way:
    """How packages are installed into an environment: a command, more variables for it, a note for the user.

    `each`: words that precede each package in the command.
    """

    command: tuple[str, ...]
    each: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    note: str = ""


def install(what: Sequence[str], *, editable: bool, upgrade: bool, say: Callable[[str], None]) -> Installed:
    """Install names, folders, wheels or addresses, as pip understands them, next to the running `kras`.

    `editable`: they are folders, used in place. `upgrade`: a newer version replaces an installed one. `say` gets the
    command before it runs. `kras` itself keeps its version. Raises PluginError if no installer is available, if the
    installation fails, or if an installed plug-in is broken.
    """
    before = _listed()
    with scratch("install") as work:
        constraints = work / "constraints.txt"
        constraints.write_text(f"{HOST}=={metadata.version(HOST)}\n", encoding="utf-8", newline="\n")
        way = way_into(Path(sys.prefix), constraints, editable=editable, upgrade=upgrade)
        words = [*way.command, *(word for one in what for word in (*way.each, one))]
        say(shlex.join(words))
        done = subprocess.run(words, env={**os.environ, **dict(way.variables)}, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise PluginError(f"{' '.join(what)}: not installed", "the lines above say why")
    now = _listed()
    for one in now["broken"]:
        if one not in before["broken"]:
            raise PluginError(
                f"{one['distribution']} is installed, but its plug-in {one['plugin']} is broken: {one['cause']}"
            )
    return Installed(plugins=tuple(p for p in now["plugins"] if p not in before["plugins"]), note=way.note)


def way_into(prefix: Path, constraints: Path, *, editable: bool = False, upgrade: bool = False) -> Way:
    """How packages are installed into the environment in the folder `prefix`, which this process runs in.

    `constraints`: a file of versions that must not change. Raises PluginError if no installer is available.
    """
    newer, each = ("--upgrade",) if upgrade else (), ("--editable",) if editable else ()
    fixed = ("--constraint", str(constraints))
    if (prefix / _PIPX).is_file():
        return Way(  # the option is given once, for all packages
            command=(_tool("pipx", prefix), "inject", "--force", *each, f"--pip-args={shlex.join(fixed)}", prefix.name),
            variables=(("PIPX_HOME", str(prefix.parent.parent)),),
        )
    tool = (prefix / _UV_TOOL).is_file()
    if not tool and find_spec("pip") is not None:
        _owned(prefix)
        return Way(command=(sys.executable, "-P", "-m", "pip", "install", *newer, *fixed), each=each)
    if not tool and shutil.which("uv") is None:
        raise PluginError(
            f"{prefix}: this environment has no pip, and there is no uv",
            f"run `{sys.executable} -m ensurepip`, or install uv",
        )
    return Way(
        command=(_tool("uv", prefix), "pip", "install", "--python", sys.executable, *newer, *fixed),
        each=each,
        note="`uv tool upgrade` may leave it out: then install kras by `uv tool install kras --with …`" if tool else "",
    )


def _tool(name: str, prefix: Path) -> str:
    found = shutil.which(name)
    if found is None:
        raise PluginError(f"{prefix} is an environment of {name}, which is not found", f"put {name} on the PATH")
    return found


def _owned(prefix: Path) -> None:
    """Raise PluginError for an interpreter whose packages belong to the operating system (PEP 668)."""
    if sys.prefix == sys.base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file():
        raise PluginError(
            f"{prefix}: the operating system manages the packages of this Python",
            "install kras into an environment of its own: `python3 -m venv`, pipx or `uv tool`",
        )


def _listed() -> dict[str, Any]:
    """`plugins` that can be used, and those that are `broken`, as a new process finds them."""
    done = subprocess.run([sys.executable, "-P", "-c", _LIST], capture_output=True, text=True, check=True)
    listed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return listed
