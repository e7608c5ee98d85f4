"""Installing plug-ins into the environment that `kras` runs in, whichever program made it: pip, uv or pipx."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kras_plugins.errors import PluginError
from kras_plugins.host.compatibility import HOST

_PIPX, _UV_TOOL = "pipx_metadata.json", "uv-receipt.toml"
"""What pipx and `uv tool` leave in an environment of theirs."""

# A process of its own looks: this one has read the folders of packages as they were when it began.
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
    """What an installation brought.

    `plugins`: kind, name, distribution and version of those that are new, or of another version than before. `note`:
    what the user is to know of the environment; empty where there is nothing.
    """

    plugins: tuple[dict[str, str], ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class Way:
    """How packages come into an environment: a command, further variables for it, a note for the user.

    `each`: words that stand before each package in the command.
    """

    command: tuple[str, ...]
    each: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    note: str = ""


def install(what: Sequence[str], *, editable: bool, upgrade: bool, say: Callable[[str], None]) -> Installed:
    """Install names, folders, wheels or addresses, as pip understands them, beside the running `kras`.

    `editable`: they are folders, which are used where they lie. `upgrade`: a newer version takes the place of an
    installed one. `say` is given the command before it runs. `kras` itself keeps its version. Raises PluginError where
    nothing can install here, where that fails, and where a plug-in that came is broken.
    """
    before = _listed()
    with tempfile.TemporaryDirectory(prefix="kras-install-") as work:
        constraints = Path(work) / "constraints.txt"
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
    """How packages come into the environment in the folder `prefix`, of which this process is.

    `constraints`: a file of versions that are not to change. Raises PluginError where there is no way.
    """
    newer, each = ("--upgrade",) if upgrade else (), ("--editable",) if editable else ()
    fixed = ("--constraint", str(constraints))
    if (prefix / _PIPX).is_file():
        return Way(  # the option stands once, for all packages
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
