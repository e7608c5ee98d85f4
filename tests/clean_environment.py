"""An environment in which `kras` and plug-ins come from wheels alone, and other libraries from where they are."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cohorts import environment

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Clean:
    """A virtual environment in `folder`, with the wheels that were installed into it."""

    folder: Path

    def run(self, *words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run its Python with these words: nothing of the checkout is on its path."""
        inherited = environment(self.folder / "store", **env)
        inherited.pop("PYTHONPATH", None)
        return subprocess.run(
            [str(self.folder / "bin" / "python"), *map(str, words)],
            cwd=cwd,
            env=inherited,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def kras(self, *words: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the installed `kras` command."""
        return self.run("-m", "kras_plugins.cli", *words, cwd=cwd, **env)

    def own_tests(self, project: Path) -> subprocess.CompletedProcess[str]:
        """Run a plug-in's tests against what is installed; a warning is an error. Other pytest plug-ins stay out."""
        words = ("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "tests")
        return self.run(*words, cwd=project, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
_QUIET = {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}


def built(folder: Path, projects: Sequence[Path]) -> list[Path]:
    """Wheels of `kras` and of the projects, in a folder, made without a network."""
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, *projects)
    subprocess.run([*_PIP, *map(str, build)], check=True, env={**os.environ, **_QUIET})
    wheels = sorted(folder.glob("*.whl"))
    assert len(wheels) == 1 + len(projects)
    return wheels


def holding(folder: Path, wheels: Sequence[Path]) -> Clean:
    """A new environment in a folder, with these wheels, made without a network."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    paths = sysconfig.get_paths()
    (own,) = folder.glob("lib/python*/site-packages")
    # Packages there are importable, but its .pth files, such as that of the editable `kras`, are not read.
    (own / "other-libraries.pth").write_text("\n".join(dict.fromkeys((paths["purelib"], paths["platlib"]))) + "\n")
    python = ("--python", folder / "bin" / "python")
    command = [*_PIP, *map(str, python), "install", "--no-deps", *map(str, wheels)]
    subprocess.run(command, check=True, env={**os.environ, **_QUIET})
    return Clean(folder)


def install(folder: Path, projects: Sequence[Path]) -> Clean:
    """Build wheels of `kras` and of the projects and install them, all without a network."""
    return holding(folder / "venv", built(folder / "wheels", projects))
