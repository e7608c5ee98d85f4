"""A plug-in that is one Python file: imported by its path, here and in worker processes."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from kras_plugins.errors import ConfigError
from kras_plugins.files.regular import SETTINGS, regular
from kras_plugins.host.compatibility import check_file

_SOURCE = "__kras_source__"
"""Attribute of a loose plug-in's module: the digest of the source that it was made from."""

_importing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""One for each file: one that hangs in its import keeps nobody else."""


def import_file(path: Path) -> ModuleType:
    """Import a loose plug-in file under a name of its own; ConfigError when it is not there or no Python file.

    A file that did not change is imported once a process: what another study of the process holds of it stays valid.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such plug-in file", "give the path of a Python file")
    regular(path, SETTINGS)
    check_file(path)
    name, source = module_name(path), hashlib.sha256(path.read_bytes()).hexdigest()
    with _importing[name]:
        known = sys.modules.get(name)
        if known is not None and getattr(known, _SOURCE, "") == source:
            return known
        spec = _spec(name, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{path}: not a Python file", "a loose plug-in ends in .py")
        module = importlib.util.module_from_spec(spec)
        setattr(module, _SOURCE, source)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def find_loose_files(paths: Iterable[Path]) -> None:
    """Let `import` find loose plug-in files, each when it is asked for: what a worker process is sent names them."""
    sys.meta_path.append(_LooseFiles({module_name(path): path for path in paths}))


class _LooseFiles(MetaPathFinder):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self._files.get(name)
        return None if file is None else _spec(name, file)


class _Source(SourceFileLoader):
    """Reads the text itself: Python takes byte code of before for it where the file changed, but not its size, within
    a second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _spec(name: str, path: Path) -> ModuleSpec | None:
    """How a loose file is imported; None where it is no text of Python."""
    if path.suffix != ".py":
        return None
    return importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))


def module_name(path: Path) -> str:
    """What a loose file is called as a module: like no other file of the same name."""
    return f"kras_file_{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
