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
"""One per file: a file that hangs in its import blocks no other."""


def import_file(path: Path) -> ModuleType:
    """Import a loose plug-in file under its own name; ConfigError if it does not exist or is not a Python file.

    An unchanged file is imported once per process, so objects that another study of the process has from it stay valid.
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
    """Let `import` find loose plug-in files on demand: what is sent to a worker process refers to them by name."""
    sys.meta_path.append(_LooseFiles({module_name(path): path for path in paths}))


class _LooseFiles(MetaPathFinder):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self._files.get(name)
        return None if file is None else _spec(name, file)


class _Source(SourceFileLoader):
    """Reads the text itself: Python would use old byte code for a file that changed within a second at equal size."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _spec(name: str, path: Path) -> ModuleSpec | None:
    """How a loose file is imported; None if it is not Python source."""
    if path.suffix != ".py":
        return None
    return importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))


def module_name(path: Path) -> str:
    """The module name of a loose file, different from any other file of the same name."""
    return f"kras_file_{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
