"""Local copies of what is on object storage: where they are, and which are removed to make room for others.

`KRAS_LOCAL_CACHE` says where (a disk of the node, for example), `KRAS_LOCAL_CACHE_GB` how much they may take. Artifacts
whose copies were removed are fetched again when needed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

from kras_plugins.errors import ConfigError
from kras_plugins.files.leftovers import remove_marked
from kras_plugins.urls import Url

FOLDER, GIGABYTES = "KRAS_LOCAL_CACHE", "KRAS_LOCAL_CACHE_GB"
DEFAULT_GB = 20.0
_MARK = "key.json"
_GRACE_SECONDS = 3600.0
"""How long another process of this machine may keep using a folder that it asked for."""
_DAY_SECONDS = 86400.0
_LOOK_AGAIN = 0.05
"""Share of the bound that may be added before all copies are examined again."""


def local_folder() -> Path:
    """Where copies lie on this machine."""
    return Path(os.environ.get(FOLDER) or user_cache_path("kras") / "remote").absolute()


def local_bytes() -> int:
    """How many bytes copies may take; ConfigError if the environment does not give a number."""
    text = os.environ.get(GIGABYTES) or str(DEFAULT_GB)
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 < size < 1e9:
        raise ConfigError(f"{GIGABYTES}={text}: not a size", "give a number of gigabytes, for example 20")
    return int(size * 1e9)


def copies_of(url: Url) -> Copies:
    """The copies of the artifacts below a URL; one object per process, whoever asks."""
    name = f"{url.name or 'store'}-{sha256(str(url).rstrip('/').encode()).hexdigest()[:12]}"
    return _copies(local_folder() / "stores" / name, local_bytes())


@lru_cache(maxsize=64)
def _copies(root: Path, bound: int) -> Copies:
    return Copies(root, bound)


class Copies:
    """Folders below `root`, of at most `bound` bytes, not counting those that are held. Used from many threads.

    A folder is held from when somebody in this process asks for it until it is released or the process ends; folders
    that other processes asked for are held for an hour. Bags are memory-mapped: their bytes are freed when nobody maps
    them any more.
    """

    def __init__(self, root: Path, bound: int) -> None:
        self.root, self.bound = root, bound
        self._lock = threading.Lock()
        self._held: set[Path] = set()
        self._released: set[Path] = set()
        self._told: set[Path] = set()
        self._added: float | None = None

    def hold(self, folder: Path) -> None:
        """Keep a folder."""
        with self._lock:
            self._held.add(folder)
            self._released.discard(folder)

    def release(self, folders: Iterable[Path]) -> None:
        """Stop holding these; they may be removed to make room."""
        with self._lock:
            here = set(folders)
            self._held -= here
            self._released |= here

    def added(self, folder: Path, size: int) -> None:
        """Hold a new folder, and make room if all folders together take too much."""
        self.hold(folder)
        with self._lock:
            grown = None if self._added is None else self._added + size
            self._added = 0.0 if grown is None or grown > _LOOK_AGAIN * self.bound else grown
            if self._added == 0.0:
                self._make_room()

    def first_today(self, folder: Path) -> bool:
        """Whether nobody asked for it for a day; True only once."""
        with suppress(OSError):
            if folder not in self._told and (folder / _MARK).stat().st_mtime < time.time() - _DAY_SECONDS:
                self._told.add(folder)
                return True
        return False

    def size(self) -> int:
        """Bytes of all copies."""
        return sum(size for _, _, size in self._there())

    def _make_room(self) -> None:
        there = sorted(self._there())
        total = sum(size for _, _, size in there)
        recent = time.time() - _GRACE_SECONDS
        for used, folder, size in there:
            if total <= self.bound:
                return
            if folder not in self._held and (used < recent or folder in self._released):
                remove_marked(folder, _MARK)
                self._released.discard(folder)
                total -= size

    def _there(self) -> list[tuple[float, Path, int]]:
        """Time of last use, folder and bytes of each copy."""
        found = []
        for mark in self.root.glob(f"[0-9a-f][0-9a-f]/*/{_MARK}"):
            with suppress(OSError):  # another process removes it meanwhile
                size = sum(f.stat().st_size for f in mark.parent.rglob("*") if f.is_file())
                found.append((mark.stat().st_mtime, mark.parent, size))
        return found
