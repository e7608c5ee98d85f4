"""Loops over pixels that numpy cannot express, compiled by numba (docs/decisions/0011)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import config, njit
from platformdirs import user_cache_path

from kras_plugins.host.interrupts import put_off

F = TypeVar("F", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[F], F]:
    """Compile a function for arguments of exactly the types of `signature`, when its module is imported.

    The machine code is cached in `folder`: the first process that imports the module compiles for some seconds, later
    ones load it. A division by zero gives infinity or NaN, as in numpy; indices are not checked, and negative ones
    count from the end. NUMBA_BOUNDSCHECK=1 checks them, NUMBA_DISABLE_JIT=1 runs all of it as plain Python.
    """

    def decorate(function: F) -> F:
        kept, before = folder(Path(function.__code__.co_filename).parent), config.CACHE_DIR
        config.CACHE_DIR = str(kept or "")
        try:
            with put_off():
                made: F = njit(signature, cache=kept is not None, nogil=True, error_model="numpy")(function)
        finally:
            config.CACHE_DIR = before
        return made

    return decorate


@cache
def folder(package: Path) -> Path | None:
    """Where a package's compiled code is cached: below NUMBA_CACHE_DIR if that is set, else in the user's cache folder.

    Each state of the package's sources has its own folder, since numba does not notice when a function's callees in
    another file have changed. None if nothing can be written: then every process compiles again.
    """
    sources = hashlib.sha256(b"".join(f.read_bytes() for f in sorted(package.glob("*.py"))))
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("kras") / "compiled")
    found = root / f"{package.name}-{sources.hexdigest()[:16]}"
    try:
        found.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=found).close()
    except OSError:
        return None
    return found
