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


def install(folder: Path, projects: Sequence[Path]) -> Clean:
    """Build wheels of `kras` and of the projects and install them, all without a network."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    quiet = {**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels", ROOT, *projects)
    subprocess.run([*pip, *map(str, build)], check=True, env=quiet)
    where = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(where)], check=True)
    paths = sysconfig.get_paths()
    (own,) = where.glob("lib/python*/site-packages")
    # Packages there are importable, but its .pth files, such as that of the editable `kras`, are not read.
    (own / "other-libraries.pth").write_text("\n".join(dict.fromkeys((paths["purelib"], paths["platlib"]))) + "\n")
    wheels = sorted((folder / "wheels").glob("*.whl"))
    assert len(wheels) == 1 + len(projects)
    python = ("--python", where / "bin" / "python")
    subprocess.run([*pip, *map(str, python), "install", "--no-deps", *map(str, wheels)], check=True, env=quiet)
    return Clean(where)
