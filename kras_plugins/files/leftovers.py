"""Work folders of processes that share a disk: each is locked while its process lives, and removed later.

A lock ends with its process, however that ends, so nobody guesses from process ids or times whether it lives. Some
disks keep locks on one machine only: folders of other machines are left to `clear_old`, which waits for days.
"""

from __future__ import annotations

import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_HOST = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:60] or "unknown"
_LOCK = ".lock"
_OLD_SECONDS = 7 * 24 * 3600
"""A folder in which nothing changed for this long is not in use."""


@contextmanager
def work_folder(below: Path, name: str) -> Iterator[Path]:
    """An empty folder for this process alone, removed at the end; OSError if it cannot be made."""
    below.mkdir(parents=True, exist_ok=True)
    folder = below / f"{name}-{uuid.uuid4().hex[:8]}@{_HOST}"
    lock = FileLock(_lock_of(folder))
    try:
        lock.acquire()
    except NotImplementedError:  # a disk without locks: others cannot tell that this process lives, so only age counts
        _lock_of(folder).unlink(missing_ok=True)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _lock_of(folder).unlink(missing_ok=True)
        lock.release()


def clear_dead(below: Path) -> None:
    """Remove the work folders that dead processes of this machine left."""
    for folder in _folders(below):
        if folder.name.endswith(f"@{_HOST}") and _lock_of(folder).exists():
            _remove(folder)


def clear_old(below: Path) -> None:
    """Remove the work folders of any machine that are not locked and in which nothing changed for a week."""
    for folder in _folders(below):
        if _last_change(folder) < time.time() - _OLD_SECONDS:
            _remove(folder)


def remove_marked(folder: Path, mark: str) -> None:
    """Remove a folder that its file `mark` declares complete: the mark first, so that no remainder looks complete."""
    (folder / mark).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _folders(below: Path) -> list[Path]:
    try:
        return sorted(f for f in below.iterdir() if f.is_dir() and not f.is_symlink())
    except OSError:
        return []


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)


def _remove(folder: Path) -> None:
    """Remove a folder unless it is locked."""
    try:
        with FileLock(_lock_of(folder), timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)
    except (Timeout, OSError, NotImplementedError):
        return  # locked, or another user's


def _last_change(folder: Path) -> float:
    times = []
    for path in (folder, *folder.rglob("*")):
        try:
            times.append(path.lstat().st_mtime)
        except OSError:
            return time.time()  # it disappears while we look: somebody works there
    return max(times)
