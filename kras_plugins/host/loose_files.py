"""A plug-in that is one Python file: imported by its path, here and in worker processes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from kras_plugins.errors import ConfigError
from kras_plugins.host.compatibility import check_file


def import_file(path: Path) -> ModuleType:
    """Import a loose plug-in file under a name of its own; ConfigError when it is not there or no Python file."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such plug-in file", "give the path of a Python file")
    check_file(path)
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file", "a loose plug-in ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def find_loose_files(paths: Iterable[Path]) -> None:
    """Let `import` find loose plug-in files, each when it is asked for: what a worker process is sent names them."""
    sys.meta_path.append(_LooseFiles({_module_name(path): path for path in paths}))


class _LooseFiles(MetaPathFinder):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self._files.get(name)
        return None if file is None else importlib.util.spec_from_file_location(name, file)


def _module_name(path: Path) -> str:
    return f"kras_file_{path.stem}"
